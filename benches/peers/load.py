"""The works that the proxies are given, and wrk, which gives them."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proc import Failed


@dataclass(frozen=True)
class Work:
    what: str
    path: str = "/"
    connections: int = 64
    method: str = "GET"
    post: int = 0  # bytes
    close: bool = False  # a new connection for each request
    pause: int = 0  # ms before each request of a connection
    short: str = ""  # in the chart
    proxies: tuple[str, ...] = ()  # who can do it; nobody named: all
    varies: float = 0  # what share of its bytes may come and go, with the digits of numbers

    def headers(self) -> dict[str, str]:
        return {"Connection": "close"} if self.close else {}


WORKS = {
    "get64": Work("GET 200 B, 64 connections", short="GET 200 B, 64 connections"),
    "get512": Work("GET 200 B, 512 connections", connections=512, short="GET 200 B, 512 connections"),
    "get1": Work("GET 200 B, 1 connection", connections=1, short="GET 200 B, 1 connection"),
    "post4k": Work("POST 4 KiB, 64 connections", "/post", method="POST", post=4096, short="POST 4 KiB"),
    "get1m": Work("GET 1 MiB, 16 connections", "/1m", connections=16, short="GET 1 MiB"),
    "newconn": Work("GET 200 B, a new connection for each", close=True, short="new connection each"),
    # wrk has no fixed rate; this is just under 40 / 10 ms.
    "rate4k": Work("GET 200 B, about 4,000 a second", connections=40, pause=10, short="4,000 requests a second"),
    "sse": Work("server-sent events, 100 streams of 50 a second; by event", "/events", connections=100, short="server-sent events"),
    "livez": Work("the proxy's own /livez, 64 connections", "/livez", short="own /livez"),
    "health": Work("the proxy's own /health, 64 connections", "/health", short="own /health"),
    "detailed": Work(
        "/health/detailed with 200 components, 64 connections; of nginx, a file of that size",
        "/health/detailed",
        short="200 components",
        proxies=("nginx", "pulsegate"),
        varies=0.05,
    ),
}


@dataclass(frozen=True)
class Load:
    requests: int
    bytes: int
    seconds: float
    p50: int  # µs
    p99: int
    joined: int = 0  # events that came together with the one before them of their stream


def wrk(program: str, work: Work, port: int, seconds: int, least: int) -> Load:
    """Runs wrk on this process's core; each answer must have `least` bytes or more."""
    command = [program, "-t1", f"-c{work.connections}", f"-d{seconds}s"]
    command += [f"-H{name}: {value}" for name, value in work.headers().items()]
    command += ["-s", str(Path(__file__).with_name("wrk.lua")), f"http://127.0.0.1:{port}{work.path}"]
    command += ["--", work.method, str(work.post), str(work.pause)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    try:
        figures = json.loads(ran.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise Failed(f"wrk ended with code {ran.returncode}: {ran.stdout}{ran.stderr}") from None
    errors = {kind: count for kind, count in figures.pop("errors").items() if count}
    load = Load(**figures)
    if errors:
        raise Failed(f"wrk counted errors among {load.requests} requests: {errors}")
    if not load.requests:
        raise Failed("wrk had no answer")
    # wrk looks at the status only.
    if load.bytes < load.requests * least:
        raise Failed(f"{load.bytes} bytes are too few for {load.requests} answers of {least}")
    return load


@contextmanager
def events(work: Work, port: int, seconds: int):
    """Opens the streams; inside, all of them flow. `end()` of what it gives waits for the figures."""
    script = str(Path(__file__).with_name("sse.py"))
    command = [sys.executable, script, "load", str(port), str(work.connections), str(seconds)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line() -> dict:
        text = reader.stdout.readline()
        if not text:
            raise Failed(f"the streams did not flow: {reader.stderr.read()}")
        return json.loads(text)

    def end() -> Load:
        figures = line()
        count = figures["events"]
        return Load(count, 0, seconds, figures["p50"], figures["p99"], figures["joined"])

    try:
        line()
        yield end
    finally:
        reader.kill()
        reader.wait()
