"""The works that the proxies are given, and wrk, which gives them."""

import json
import subprocess
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

    def headers(self) -> dict[str, str]:
        return {"Connection": "close"} if self.close else {}


WORKS = {
    "get64": Work("GET 200 B, 64 connections"),
    "get512": Work("GET 200 B, 512 connections", connections=512),
    "get1": Work("GET 200 B, 1 connection", connections=1),
    "post4k": Work("POST 4 KiB, 64 connections", "/post", method="POST", post=4096),
    "get1m": Work("GET 1 MiB, 16 connections", "/1m", connections=16),
    "newconn": Work("GET 200 B, a new connection for each", close=True),
    # wrk has no fixed rate; this is just under 40 / 10 ms.
    "rate4k": Work("GET 200 B, about 4,000 a second", connections=40, pause=10),
    "livez": Work("the proxy's own /livez, 64 connections", "/livez"),
    "health": Work("the proxy's own /health, 64 connections", "/health"),
}


@dataclass(frozen=True)
class Load:
    requests: int
    bytes: int
    seconds: float
    p50: int  # µs
    p99: int


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
