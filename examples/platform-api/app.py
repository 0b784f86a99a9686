"""A small API in place of the platform's, with a database of its own: app.py [DATABASE]. It needs nothing but Python.

It listens at $PORT, which pulsegate sets for what it starts; 8080 without it.
"""

import json
import os
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATABASE = sys.argv[1] if len(sys.argv) > 1 else "/tmp/platform-api.db"

with sqlite3.connect(DATABASE) as database:
    database.execute("create table if not exists buckets (name text primary key, provider text not null)")
    database.execute("insert or ignore into buckets values ('photos', 's3'), ('backups', 'gcs')")
database.close()


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        code, answer = 404, {"error": "Not Found"}
        if self.path == "/buckets":
            database = sqlite3.connect(DATABASE)
            rows = database.execute("select name, provider from buckets order by name").fetchall()
            database.close()
            code, answer = 200, [{"name": name, "provider": provider} for name, provider in rows]
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Api).serve_forever()
