"""What happens to pods, and when: told by the kubelet, by containerd and by the containers' own logs.

All three use the machine's clock, so their moments can be compared.
"""

import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node import CONTAINERD, NAME, Failed, Node

GLANCE = 0.05  # seconds between two looks at the kubelet: how exact "ready" is


@dataclass(frozen=True)
class Container:
    """A container, as the kubelet last told."""

    id: str
    ready: bool
    started: bool
    restarts: int


@dataclass(frozen=True)
class Pod:
    """A pod, as the kubelet last told."""

    at: float
    address: str
    ready: bool
    containers: dict[str, Container]


class Watch(threading.Thread):
    """Looks all the time, and remembers everything."""

    def __init__(self, node: Node):
        super().__init__(daemon=True)
        self.node = node
        self.told: dict[str, list[Pod | None]] = {}  # None: the kubelet has it no more
        self.names: dict[str, tuple[str, str]] = {}  # pod and container, by the container's id
        self.events: list[tuple[float, str, str]] = []  # moment, topic, container's id
        self.lines: list[tuple[float, str, str, str]] = []  # moment, pod, container, line
        self._files: dict[Path, object] = {}
        self._changed = threading.Condition()
        self._events = subprocess.Popen(
            ["ctr", "--address", CONTAINERD, "events"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=node.environment,
        )
        threading.Thread(target=self._hear, daemon=True).start()

    # --- asking -------------------------------------------------------------

    def until(self, what: str, within: float, holds) -> float:
        """Waits until HOLDS, which is asked again whenever something happens, gives a moment."""
        deadline = time.monotonic() + within
        with self._changed:
            while (at := holds()) is None:
                self.node.require_alive()
                if time.monotonic() > deadline:
                    raise Failed(f"{what}: not within {within} s; {self._last()}")
                self._changed.wait(1)
        return at

    def pod(self, name: str) -> Pod | None:
        told = self.told.get(name)
        return told[-1] if told else None

    def until_ready(self, name: str, ready: bool, within: float, since: float = 0) -> float:
        def holds():
            return next(
                (pod.at for pod in self.told.get(name, []) if pod and pod.at >= since and pod.ready == ready), None
            )

        return self.until(f"{name} is {'ready' if ready else 'not ready'}", within, holds)

    def until_task(self, name: str, container: str, topic: str, within: float, since: float = 0) -> float:
        """When a container's process started or ended ("start", "exit"), as containerd tells."""
        return self.until(f"{name}'s {container}: {topic}", within, lambda: self.task(name, container, topic, since))

    def task(self, name: str, container: str, topic: str, since: float = 0) -> float | None:
        for at, heard, id_ in self.events:
            if at >= since and heard == f"/tasks/{topic}" and self.names.get(id_) == (name, container):
                return at
        return None

    def until_says(self, name: str, container: str, word: str, within: float, since: float = 0) -> float:
        def holds():
            return next(iter(self.says(name, container, word, since)), (None,))[0]

        return self.until(f"{name}'s {container} says {word!r}", within, holds)

    def says(self, name: str, container: str, word: str, since: float = 0) -> list[tuple[float, str]]:
        found = []
        for at, pod, of, line in list(self.lines):
            if pod == name and of == container and at >= since and word in line:
                found.append((at, line))
        return found

    def _last(self) -> str:
        pods = {name: told[-1] for name, told in self.told.items()}
        lines = "\n".join(f"  {pod}/{of}: {line}" for _, pod, of, line in self.lines[-12:])
        return f"pods: {pods}; the last lines of the containers:\n{lines}"

    # --- looking ------------------------------------------------------------

    def run(self) -> None:
        while True:
            try:
                found = {pod["metadata"]["name"].removesuffix(f"-{NAME}"): pod for pod in self.node.pods()}
            except OSError:
                return  # the kubelet has been stopped
            with self._changed:
                changed = self._take(found) | self._read()
                if changed:
                    self._changed.notify_all()
            time.sleep(GLANCE)

    def _take(self, found: dict) -> bool:
        changed = False
        for name in self.told.keys() - found.keys():
            if self.told[name][-1] is not None:
                self.told[name].append(None)
                changed = True
        for name, pod in found.items():
            status = pod["status"]
            containers = {}
            for of in status.get("initContainerStatuses", []) + status.get("containerStatuses", []):
                id_ = of.get("containerID", "").removeprefix("containerd://")
                containers[of["name"]] = Container(id_, of["ready"], bool(of.get("started")), of["restartCount"])
                self.names.setdefault(id_, (name, of["name"]))
            ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
            now = Pod(time.time(), status.get("podIP", ""), ready, containers)
            told = self.told.setdefault(name, [])
            before = told[-1] if told else None
            if before is None or (before.address, before.ready, before.containers) != (now.address, ready, containers):
                told.append(now)
                changed = True
        return changed

    def _read(self) -> bool:
        """New lines of the containers. Files stay open, as the kubelet removes them with their pod."""
        before = len(self.lines)
        for path in Path("/var/log/pods").glob("*/*/*.log"):
            # A pod of the same name and manifest has the same directory again, with new files in it.
            if path not in self._files or self._files[path][0] != path.stat().st_ino:
                self._files[path] = (path.stat().st_ino, path.open(errors="replace"))
        for path, (_, file) in list(self._files.items()):
            name = path.parts[-3].split("_")[1].removesuffix(f"-{NAME}")
            while line := file.readline():
                at, _, _, text = line.rstrip("\n").split(" ", 3)
                self.lines.append((moment(at), name, path.parts[-2], text))
        return len(self.lines) > before

    def _hear(self) -> None:
        # 2026-11-25 22:45:49.287376048 +0000 UTC k8s.io /tasks/start {"container_id":"…"}
        form = re.compile(r"(\S+) (\S+) \+0000 UTC \S+ (/tasks/(?:start|exit)) (\{.*\})")
        for line in self._events.stdout:
            if found := form.match(line):
                day, clock, topic, event = found.groups()
                event = json.loads(event)
                if event.get("id", event["container_id"]) != event["container_id"]:
                    continue  # a command that was run in it, such as a hook
                with self._changed:
                    self.events.append((moment(f"{day}T{clock}Z"), topic, event["container_id"]))
                    self._changed.notify_all()


def moment(text: str) -> float:
    """Seconds since 1970 of a time as Go writes it: any number of digits after the seconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")
