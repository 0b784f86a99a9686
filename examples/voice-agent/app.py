"""A small API in place of the voice agent's: app.py [PORT]. It needs nothing but Python."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATHS = {
    "/api/v1/health": {"ok": True, "status": "healthy"},
    "/api/v1/calls": {"calls": []},
}


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        known = PATHS.get(self.path.partition("?")[0])
        body = json.dumps(known or {"detail": "Not Found"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
ThreadingHTTPServer(("127.0.0.1", port), Api).serve_forever()
