"""What scenes are made of: pods that come and go, what is asked of them, and a table of what was seen."""

import copy
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from manifests import Manifests
from node import ADDRESS, MANIFESTS, Failed, Node
from watch import Watch

STARTS = 60  # seconds within which a pod must have started


@dataclass
class Scene:
    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)

    def took(self, what: str, since: float, until: float) -> None:
        """A row of the table; the order of the two moments is what is tested."""
        require(until >= since, f"{self.title}: {what}: the other way round, by {since - until:.3f} s")
        self.say(what, f"{until - since:.1f} s" if until - since >= 0.1 else "under 0.1 s")

    def say(self, what: str, value: str) -> None:
        self.rows.append((what, value))
        print(f"  {value:>12}  {what}", flush=True)


def require(true: bool, otherwise: str) -> None:
    if not true:
        raise Failed(otherwise)


class Stage:
    def __init__(self, node: Node, watch: Watch, manifests: Manifests):
        self.node, self.watch, self.manifests = node, watch, manifests

    # --- pods ---------------------------------------------------------------

    def put(self, name: str, pod: dict) -> float:
        MANIFESTS.joinpath(f".{name}").write_text(json.dumps(pod))
        at = time.time()
        MANIFESTS.joinpath(f".{name}").rename(MANIFESTS / f"{name}.json")
        return at

    def remove(self, name: str) -> float:
        """As `kubectl delete pod`: hooks, signals, the grace period."""
        at = time.time()
        (MANIFESTS / f"{name}.json").unlink()
        return at

    def until_gone(self, name: str, since: float, within: float) -> None:
        def holds():
            ids = [id_ for id_, (pod, _) in self.watch.names.items() if pod == name]
            ended = {id_ for _, topic, id_ in self.watch.events if topic == "/tasks/exit"}
            started = {id_ for _, topic, id_ in self.watch.events if topic == "/tasks/start"}
            return time.time() if started & set(ids) <= ended else None

        self.watch.until(f"{name} is gone", within, holds)

    def ask(self, name: str, path: str, method: str = "GET") -> tuple[int, str]:
        url = f"http://{self.watch.pod(name).address}:8000{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def probes(self, name: str, container: str, kind: str, result: str) -> int:
        """How many probes of a kind the kubelet counts with that result."""
        with urllib.request.urlopen("http://127.0.0.1:10255/metrics/probes", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        total = 0
        for line in lines:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            wanted = {"container": container, "pod": f"{name}-node", "probe_type": kind, "result": result}
            if line.startswith("prober_probe_total") and wanted.items() <= labels.items():
                total += int(float(line.split()[-1]))
        return total

    def until_probed(self, name: str, container: str, kind: str, result: str, more: int, within: float) -> None:
        enough = self.probes(name, container, kind, result) + more
        self.watch.until(
            f"{more} {kind} probes of {name} that are {result}",
            within,
            lambda: True if self.probes(name, container, kind, result) >= enough else None,
        )

    def same_containers(self, name: str, before: dict) -> None:
        now = self.watch.pod(name).containers
        for container, was in before.items():
            is_ = now[container]
            require(
                (is_.id, is_.restarts) == (was.id, was.restarts),
                f"{name}: {container} was restarted: {was.restarts} restarts, then {is_.restarts}",
            )


def changed(pod: dict, **containers: dict) -> dict:
    """A copy of a pod with other fields in a container; None takes a field away."""
    pod = copy.deepcopy(pod)
    for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
        for name, value in containers.get(container["name"], {}).items():
            if value is None:
                container.pop(name, None)
            else:
                container[name] = value
    return pod


class Dependency:
    """A server in the node that a check of the pods asks."""

    def __init__(self):
        self._server = None
        self.port = 5432
        self.up()

    def up(self) -> float:
        self._server = socket.create_server((ADDRESS, self.port), backlog=64)
        server = self._server
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        return time.time()

    def down(self) -> float:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        return time.time()

    @staticmethod
    def _serve(server: socket.socket) -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return
