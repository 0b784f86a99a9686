"""Makes a token (JWT, HS256) as the app would, of the secret that `services` has made: make_token.py FOLDER [SECONDS]"""

import base64
import hashlib
import hmac
import json
import sys
import time


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


with open(f"{sys.argv[1]}/secrets/jwt", "rb") as file:
    secret = file.read().strip()
seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 3600
claims = {"iss": "media-pipeline", "sub": "somebody", "exp": int(time.time()) + seconds}
signed = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
print((signed + b"." + encode(hmac.new(secret, signed, hashlib.sha256).digest())).decode())
