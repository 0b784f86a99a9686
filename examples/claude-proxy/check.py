import requests

def check_proxy_health():
    try:
        response = requests.get("http://localhost:8000/health", timeout=5)
        if response.status_code == 200:
            data = response.json()
            return data.get("status") == "healthy"
        return False
    except requests.RequestException:
        return False

if check_proxy_health():
    print("Proxy is healthy")
else:
    print("Proxy is unhealthy")
