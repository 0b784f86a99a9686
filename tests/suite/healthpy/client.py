"""Asks a service for its health as healthpy's users do: by its check of a dependency that follows the draft."""

import json
import sys

import healthpy.requests

status, checks = healthpy.requests.check("sidecar", sys.argv[1])
print(json.dumps({"status": status, "check": checks["sidecar:health"]}))
