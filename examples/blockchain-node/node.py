"""A small node: node.py. It needs nothing but Python.

It answers GET /ext/info at $PORT (9660), and sends a heartbeat each second to pulsegate's management port, $PULSEGATE
(http://127.0.0.1:9000). It is no Avalanche node.
"""

import json
import os
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEARTBEAT = os.environ.get("PULSEGATE", "http://127.0.0.1:9000") + "/-/heartbeat/network.validators.heartbeat"


class Info(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        known = self.path == "/ext/info"
        body = json.dumps({"isBootstrapped": True} if known else {"error": "not found"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def beat():
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(HEARTBEAT, method="POST"), timeout=5).close()
        except OSError as error:
            print("no heartbeat sent:", error, flush=True)
        time.sleep(1)


threading.Thread(target=beat, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9660"))), Info).serve_forever()
