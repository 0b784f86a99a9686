"""What stands beside PostgreSQL and Redis, small: servers.py APP_PORT QDRANT_PORT SFTPGO_PORT. It needs nothing but Python.

The app, and HTTP servers that answer health checks as Qdrant and SFTPGo do. They are not Qdrant and SFTPGo.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVERS = [
    {"/api/v1/files": ("application/json", b'{"files":[]}')},
    {"/healthz": ("text/plain", b"healthz check passed")},
    {"/healthz": ("text/plain", b"ok")},
]


def serve(port, paths):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            known = paths.get(self.path)
            kind, body = known or ("text/plain", b"not found")
            self.send_response(200 if known else 404)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


for port, paths in zip(map(int, sys.argv[1:]), SERVERS):
    threading.Thread(target=serve, args=(port, paths)).start()
