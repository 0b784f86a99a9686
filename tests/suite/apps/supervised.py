"""A small app that pulsegate starts: supervised.py FILE

Listens at PORT, writes what happens to it to FILE, a line each, and does what it is asked:

/exit/N     ends with that code, without an answer
/kill       ends by SIGKILL, without an answer
/orphan     leaves a process behind that has its own session
/slow       answers after a second
/ignore     ignores SIGTERM from now on
/limit      answers with its soft limit of open files
anything    answers with its process id
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log = open(sys.argv[1], "a", buffering=1)


def note(text):
    print(text, file=log)


def on_signal(number, _frame):
    note(signal.Signals(number).name)
    if number == signal.SIGTERM:
        if not ignoring:
            threading.Thread(target=end).start()


ignoring = False


def end():
    server.shutdown()
    note("ended")


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together, so that no kill comes between them.
    wbufsize = -1

    def do_GET(self):
        global ignoring
        body = str(os.getpid())
        if self.path.startswith("/exit/"):
            os._exit(int(self.path[6:]))
        elif self.path == "/kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.path == "/orphan":
            subprocess.Popen(["sh", "-c", "setsid sleep 0.2 & exit 0"]).wait()
        elif self.path == "/slow":
            note("slow")
            time.sleep(1)
        elif self.path == "/ignore":
            ignoring = True
        elif self.path == "/limit":
            body = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
    signal.signal(name, on_signal)
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App)
server.daemon_threads = True
note(f"started {os.getpid()}")
server.serve_forever()
