# You can also use wget
curl -X GET https://backend.flashback.tech/health \
  -H 'Accept: application/json' \
  -H 'Authorization: Bearer {access-token}'
