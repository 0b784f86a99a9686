"""A started program: pinned to a core, weighed by /proc, sure to end."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

class Failed(Exception):
    """The benchmark cannot go on; the text says why."""


@dataclass(frozen=True)
class Usage:
    """What the processes of a program have used until now."""

    cpu: dict[int, float]  # seconds, by process
    voluntary: dict[int, int]  # context switches, by thread
    involuntary: dict[int, int]
    rss: float  # MiB, summed over processes
    peak: float


def grown(before: dict, after: dict) -> float:
    """The sum of what was added; a process or thread may be new, or gone."""
    return sum(value - before.get(key, 0) for key, value in after.items())


class Program:
    def __init__(self, command: list, core: int, log: Path, env: dict):
        self.log = log
        with log.open("wb") as output:
            # A session of its own makes every process of the program findable,
            # even a worker whose master has died, and keeps Ctrl-C from it.
            self.leader = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def stop(self) -> None:
        # Asked again until it goes: pulsegate drains at the first signal, which
        # takes seconds, and goes at the second. Not killed at once, as nginx
        # would then leave its worker to an init that need not care.
        for _ in range(40):
            self.leader.terminate()
            try:
                self.leader.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                pass
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.leader.wait(10)

    def await_exec(self, name: str) -> float:
        """The time at which the program itself runs, not a shell that starts it."""
        deadline = time.monotonic() + 5
        while Path(os.readlink(f"/proc/{self.leader.pid}/exe")).name != name:
            self.require_alive()
            if time.monotonic() > deadline:
                raise Failed(f"{name} was not started by its command")
        return time.monotonic()

    def require_alive(self) -> None:
        if self.leader.poll() is not None:
            raise Failed(f"it ended with code {self.leader.returncode}")

    def pids(self) -> list[int]:
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and _session(int(entry)) == self.leader.pid:
                found.append(int(entry))
        return found

    def usage(self) -> Usage:
        cpu, voluntary, involuntary, rss, peak = {}, {}, {}, 0, 0
        for pid in self.pids():
            status, used = _status(f"/proc/{pid}"), _cpu(pid)
            if "VmRSS" not in status or used is None:
                continue  # a check's subprocess that has just ended
            cpu[pid] = used
            rss += status["VmRSS"]
            peak += status["VmHWM"]
            for thread in Path(f"/proc/{pid}/task").glob("*"):
                switches = _status(thread)
                voluntary[int(thread.name)] = switches.get("voluntary_ctxt_switches", 0)
                involuntary[int(thread.name)] = switches.get("nonvoluntary_ctxt_switches", 0)
        return Usage(cpu, voluntary, involuntary, rss / 1024, peak / 1024)


def _cpu(pid: int) -> float | None:
    """utime + stime of /proc/PID/stat, which has them in steps of 10 ms only.

    As there, ended threads count and reaped children do not: what a check's
    subprocess costs goes by the clock, not by the request.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it
    except OSError:
        return None


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _status(directory) -> dict[str, int]:
    """The fields that are numbers; sizes are in KiB."""
    try:
        lines = Path(directory, "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return {name: int(words[0]) for name, words in fields.items() if words and words[0].isdecimal()}
