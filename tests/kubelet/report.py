"""What was measured, as tables in docs/kubernetes.md."""

import os
import subprocess
import time
from pathlib import Path

from node import Failed, Node
from stage import Scene

BEGIN, END = "<!-- measured: tests/kubelet/run -->", "<!-- /measured -->"


def write(page: Path, scenes: list[Scene], node: Node) -> None:
    before, after = place_in(page)
    page.write_text(f"{before}{BEGIN}\n{tables(scenes, node)}{END}{after}")
    print(f"written: {page}")


def place_in(page: Path) -> tuple[str, str]:
    """What stands before and after the tables."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Failed(f"{page} has no place for the tables: {BEGIN} and {END}")
    return before, after


def tables(scenes: list[Scene], node: Node) -> str:
    versions = ", ".join(
        [
            first_line(node, "kubelet", "--version").replace("Kubernetes", "Kubelet"),
            "containerd " + first_line(node, "containerd", "--version").split()[2],
            first_line(node, "runc", "--version").replace("version ", ""),
            "cgroup v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "cgroup v1",
        ]
    )
    lines = [f"Measured on {time.strftime('%-d %B %Y', time.gmtime())}, {os.cpu_count()} cores: {versions}.", ""]
    for scene in scenes:
        lines += [f"**{scene.title}**", "", "| what | |", "|---|---|"]
        lines += [f"| {what} | {value} |" for what, value in scene.rows]
        lines.append("")
    return "\n".join(lines)


def first_line(node: Node, *command: str) -> str:
    ended = subprocess.run(command, env=node.environment, capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()[0]
