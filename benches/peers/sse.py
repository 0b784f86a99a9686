#!/usr/bin/env python3
"""Server-sent events: the app that sends them, and the clients that read them.

    sse.py app PORT                        sends events to whoever asks
    sse.py load PORT STREAMS SECONDS       reads them; one line of JSON when all
                                           streams flow, one at the end

Each stream gets 50 events a second, evenly spread over all streams, each with
the time at which it was sent.
"""

import json
import select
import socket
import sys
import time

EVENTS = 50  # per second and stream
PADDING = b"x" * 100
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
DONE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"


def app(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    asking: dict[int, tuple[socket.socket, bytearray]] = {}
    streams: list[socket.socket] = []
    following, due = 0, time.monotonic()
    while True:
        wait = max(0, due - time.monotonic()) if streams else 1
        for fd, _ in poll.poll(wait):
            if fd == listener.fileno():
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setblocking(False)
                asking[client.fileno()] = (client, bytearray())
                poll.register(client, select.EPOLLIN)
                continue
            client, request = asking[fd]
            try:
                got = client.recv(65536)
            except OSError:
                got = b""
            request += got
            if not got:
                poll.unregister(fd)
                del asking[fd]
                if client in streams:
                    streams.remove(client)
                client.close()
            elif b"\r\n\r\n" in request:
                wants_events = request.startswith(b"GET /events ")
                request.clear()
                client.send(HEAD if wants_events else DONE)
                if wants_events:
                    streams.append(client)
                    due = max(due, time.monotonic())
        while streams and time.monotonic() >= due:
            following = (following + 1) % len(streams)
            event = b"data: %d %s\n\n" % (time.monotonic_ns(), PADDING)
            try:
                streams[following].send(b"%x\r\n%s\r\n" % (len(event), event))
            except OSError:
                pass  # its end is seen above
            due += 1 / EVENTS / len(streams)
            if time.monotonic() - due > 0.1:  # too slow: what was not sent is not made up for
                due = time.monotonic()


def load(port: int, streams: int, seconds: float) -> None:
    poll = select.epoll()
    clients: dict[int, tuple[socket.socket, bytearray]] = {}
    for _ in range(streams):
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        client.setblocking(False)
        clients[client.fileno()] = (client, bytearray())
        poll.register(client, select.EPOLLIN)
    flowing: set[int] = set()
    latencies: list[int] = []
    joined = 0
    until = time.monotonic() + 15
    begun = False
    while time.monotonic() < until:
        for fd, _ in poll.poll(0.1):
            client, had = clients[fd]
            got = client.recv(65536)
            now = time.monotonic_ns()
            if not got:
                sys.exit("a stream ended")
            had += got
            events = 0
            while (end := had.find(b"\n\n")) >= 0:
                start = had.find(b"data: ")
                if 0 <= start < end:
                    sent = int(had[start + 6 : had.index(b" ", start + 6)])
                    events += 1
                    if begun:
                        latencies.append(now - sent)
                del had[: end + 2]
            if begun and events > 1:
                joined += events - 1
            if events:
                flowing.add(fd)
        if not begun and len(flowing) == streams:
            begun, until = True, time.monotonic() + seconds
            print(json.dumps({"streams": streams}), flush=True)
    if not begun or not latencies:
        sys.exit(f"only {len(flowing)} of {streams} streams flow")
    latencies.sort()
    quantile = lambda q: latencies[min(len(latencies) - 1, int(q * len(latencies)))] // 1000
    figures = {"events": len(latencies), "p50": quantile(0.5), "p99": quantile(0.99), "joined": joined}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "app":
            app(int(sys.argv[2]))
        else:
            load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    except KeyboardInterrupt:
        pass
