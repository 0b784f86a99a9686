"""The proxies and the app behind them: how each is configured, started and checked."""

import grp
import http.client
import json
import os
import pwd
import random
import socket
import string
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from load import Work
from proc import Failed, Program

SMALL = b"0123456789" * 20
STORED = b"stored\n"
MEBIBYTE = random.Random(1).randbytes(1 << 20)
FORWARDED = {"/": SMALL, "/post": STORED, "/1m": MEBIBYTE}
# With those of the preset that are components, 200.
MANY_CHECKS = "".join(f"[checks.file{n}]\ninterval = '5s'\nfile.path = '/etc/hostname'\n" for n in range(196))


@dataclass(frozen=True)
class Kind:
    config: str  # the template beside this file
    command: Callable[[str, str], list[str]]  # of the program and its configuration
    own_admin_port: bool = False


def nginx(program: str, config: str) -> list[str]:
    return [program, "-p", os.path.dirname(config), "-c", config]  # files are relative to -p


UPSTREAM = Kind("upstream.conf", nginx)


def pingora(program: str, config: str) -> list[str]:
    return [program, *Path(config).read_text().split()]  # it has no file: its arguments, a line each


PULSEGATE = Kind("pulsegate.toml", lambda program, config: [program, "run", "--config", config], True)
BEFORE = "before"  # a second pulsegate, to measure a change in pairs

# In the order of each round.
KINDS = {
    "nginx": Kind("nginx.conf", nginx),
    "haproxy": Kind("haproxy.cfg", lambda program, config: [program, "-db", "-f", config]),
    "envoy": Kind(
        "envoy.yaml",
        lambda program, config: [program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
    ),
    "pingora": Kind("pingora.txt", pingora),
    BEFORE: PULSEGATE,
    "pulsegate": PULSEGATE,
}


class Template(string.Template):
    delimiter = "%"  # the $ is nginx's


@dataclass
class Peer:
    name: str
    port: int
    livez_port: int
    program: Program
    first_200: float = 0  # seconds from exec

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.stop()

    @contextmanager
    def doing(self, what: str):
        """Says in a failure whose it was, and what the program itself said."""
        try:
            yield
        except (Failed, OSError, ValueError, http.client.HTTPException) as error:
            said = self.program.log.read_text(errors="replace")[-1500:]
            raise Failed(f"{self.name}, {what}: {error}\n{said}".rstrip()) from None


@dataclass
class Stage:
    """Where all of it runs."""

    programs: dict[str, str]
    scratch: Path
    proxy_core: int
    load_core: int
    upstream: int = 0
    events: int = 0
    # Bytes of the own answers. Those of the contract's example, unless
    # pulsegate is there to give its own.
    own: dict[str, int] = field(default_factory=lambda: {"/livez": 3, "/health": 110})

    def start_upstream(self) -> Peer:
        directory = self._directory("upstream")
        Path(directory, "1m").write_bytes(MEBIBYTE)
        values = {"small": SMALL.decode(), "stored": STORED.decode(), "files": directory}
        peer = self._start("upstream", UPSTREAM, self.programs["nginx"], self.load_core, values)
        self.upstream = peer.port
        return peer

    def start_events(self) -> Peer:
        """The app that streams events, which only the work of that name asks."""
        (port,) = free_ports(1)
        log = self._directory("events") / "log"
        script = str(Path(__file__).with_name("sse.py"))
        env = {"PATH": "/usr/bin:/bin"}
        program = Program([sys.executable, script, "app", str(port)], self.load_core, log, env)
        peer = Peer("events", port, port, program)
        try:
            with peer.doing("starting"):
                self.await_200(peer, port, "/")
        except BaseException:
            program.stop()
            raise
        self.events = port
        return peer

    def start(self, name: str, upstream: int = 0, checks: str = "") -> Peer:
        """Starts the proxy and waits for its first 200 on /livez."""
        values = {path[1:]: "x" * self.own[path] for path in ("/livez", "/health")}
        values |= {"checks": checks, "detailed": str(self._detailed())}
        values["upstream"] = upstream or self.upstream
        return self._start(name, KINDS[name], self.programs[name], self.proxy_core, values)

    def _detailed(self) -> Path:
        """The file that nginx sends in the place of the answer."""
        file = self.scratch / "detailed.json"
        file.write_bytes(b"x" * self.own.get("/health/detailed", 0))
        return file

    def _start(self, name: str, kind: Kind, program: str, core: int, values: dict) -> Peer:
        directory = self._directory(name)
        port, admin = free_ports(2)
        # nginx started by root would else give its workers to somebody who
        # cannot read the scratch directory; started by others it only warns.
        user = f"user {pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name};"
        template = Template(Path(__file__).with_name(kind.config).read_text())
        config = directory / kind.config
        config.write_text(template.substitute(values, port=port, admin=admin, user=user))

        # Nothing of the caller's: pulsegate reads settings from the environment.
        env = {"HOME": str(directory), "PATH": "/usr/bin:/bin"}
        log = directory / "log"
        running = Program(kind.command(program, str(config)), core, log, env)
        peer = Peer(name, port, admin if kind.own_admin_port else port, running)
        try:
            with peer.doing("starting"):
                executed = running.await_exec(Path(os.path.realpath(program)).name)
                self.await_200(peer, peer.livez_port, "/livez", pause=0.0002)
                peer.first_200 = time.monotonic() - executed
        except BaseException:
            running.stop()
            raise
        return peer

    def _directory(self, name: str) -> Path:
        directory = self.scratch / name
        directory.mkdir(exist_ok=True)
        return directory

    def await_200(self, peer: Peer, port: int, path: str, pause: float = 0.02) -> bytes:
        deadline = time.monotonic() + 30
        last = "nothing"
        while time.monotonic() < deadline:
            peer.program.require_alive()
            try:
                status, body = ask(port, path)
                if status == 200:
                    return body
                last = f"{status} {body[:300]!r}"
            except OSError as error:  # not listening yet
                last = str(error)
            time.sleep(pause)
        raise Failed(f"GET {path} was not 200 within 30 s, but {last}")

    def settle(self, peer: Peer) -> bytes:
        """Waits until the first checks are over: they are no part of a work."""
        return self.await_200(peer, peer.port, "/health")

    def learn_own_answers(self) -> None:
        """Has the others answer with as many bytes as pulsegate does."""
        with self.start("pulsegate") as peer, peer.doing("asked for its own answers"):
            health = self.settle(peer)
            livez = self.await_200(peer, peer.port, "/livez")
            if livez.strip() != b"ok" or json.loads(health).get("status") != "healthy":
                raise Failed(f"they are wrong: {livez!r}, {health!r}")
        with self.start("pulsegate", checks=MANY_CHECKS) as peer, peer.doing("asked for its own details"):
            self.settle(peer)
            detailed = self.await_200(peer, peer.port, "/health/detailed")
            if (count := len(json.loads(detailed)["components"])) != 200:
                raise Failed(f"{count} components are not 200")
        self.own = {"/livez": len(livez), "/health": len(health), "/health/detailed": len(detailed)}

    def size(self, path: str) -> int:
        return len(FORWARDED[path]) if path in FORWARDED else self.own[path]

    def verify(self, peer: Peer, work: Work) -> None:
        """Fast but wrong does not count: status, body, kept connections, fields."""
        client = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=5)
        for _ in range(2):
            status, body = exchange(client, work.method, work.path, b"x" * work.post, work.headers())
            size = self.size(work.path)
            if status != 200 or abs(len(body) - size) > size * work.varies:
                raise Failed(f"{work.path} was answered with {status} and {len(body)} bytes")
            # pulsegate's own answers hold the time; their sense was looked at above.
            if body != FORWARDED.get(work.path, body):
                raise Failed(f"the body of {work.path} was changed on the way")
            if (client.sock is None) != work.close:
                raise Failed(f"{work.path}: the connection was {'kept' if work.close else 'closed'}")
        seen = [exchange(client, "GET", "/seen")[1].decode() for _ in range(2)][1]
        client.close()
        address, _, requests = seen.partition(" ")
        # Envoy names the machine where the client is on it; "-" is none at all.
        if not address.replace(".", "").isdecimal() or int(requests) < 2:
            raise Failed(f"no X-Forwarded-For, or no connection kept to the app: it saw {seen!r}")


def exchange(client, method: str, path: str, body=b"", headers={}) -> tuple[int, bytes]:
    client.request(method, path, body or None, headers)
    response = client.getresponse()
    return response.status, response.read()


def ask(port: int, path: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        return exchange(client, "GET", path)
    except http.client.HTTPException as error:
        raise OSError(f"not HTTP: {error!r}") from None
    finally:
        client.close()


def free_ports(count: int) -> list[int]:
    """All held until all are known, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports
