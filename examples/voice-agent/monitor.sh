# Simple uptime monitoring script
while true; do
  STATUS=$(curl -s -o /dev/null -w "%{http_code}" https://your-domain.com/api/v1/health)
  if [ $STATUS -ne 200 ]; then
    echo "Service unhealthy: HTTP $STATUS"
    # Trigger alert
  fi
  sleep 60
done
