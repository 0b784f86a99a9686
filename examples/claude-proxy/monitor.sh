#!/bin/bash
# Simple monitoring script

PROXY_URL="http://localhost:8000"

while true; do
    if curl -f "$PROXY_URL/health" > /dev/null 2>&1; then
        echo "$(date): Proxy is healthy"
    else
        echo "$(date): Proxy is unhealthy - checking details..."
        curl "$PROXY_URL/health/detailed" 2>/dev/null | jq '.error // "Unknown error"'
    fi
    sleep 30
done
