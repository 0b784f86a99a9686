"""What was measured, as markdown, and the bars that pulsegate must keep."""

import platform
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from load import WORKS

# Of issue 2. A bar is on the median of its rounds.
CPU_RATIO = {"get64": 1.1}  # against the better of nginx and HAProxy
IDLE_RSS_MIB = 12
START_MS = 50


@dataclass(frozen=True)
class Round:
    """One run of wrk through one proxy."""

    cpu: float  # µs per request
    rate: float  # requests per second
    p50: int  # µs
    p99: int
    switches: float  # context switches per request
    rss: float  # MiB, after the run
    peak: float


@dataclass(frozen=True)
class Idle:
    start: float  # ms from exec to the first 200
    rss: float  # MiB
    wakeups: float  # per second
    per_connection: float  # KiB


@dataclass
class Results:
    versions: dict[str, str]  # of proxies and wrk
    how: str
    rounds: dict[str, dict[str, list[Round]]] = field(default_factory=dict)  # by work, by proxy
    idle: dict[str, Idle] = field(default_factory=dict)

    def cpu(self, work: str, proxy: str) -> float:
        return median(run.cpu for run in self.rounds[work][proxy])

    def bars(self) -> list[tuple[str, float, float]]:
        """What is bounded, what it is, what it may be; only what was measured."""
        bars = []
        for work, bound in CPU_RATIO.items():
            if {"pulsegate", "nginx", "haproxy"} <= self.rounds.get(work, {}).keys():
                better = min(self.cpu(work, "nginx"), self.cpu(work, "haproxy"))
                name = f"{work}: CPU per request, against the better of nginx and HAProxy"
                bars.append((name, self.cpu(work, "pulsegate") / better, bound))
        if idle := self.idle.get("pulsegate"):
            bars.append(("idle RSS, MiB", idle.rss, IDLE_RSS_MIB))
            bars.append(("first 200 after exec, ms", idle.start, START_MS))
        return bars

    def kept(self) -> bool:
        return all(value <= bound for _, value, bound in self.bars())

    def markdown(self) -> str:
        parts = [self._machine()]
        if self.rounds:
            parts.append(self._works())
        if self.idle:
            parts.append(self._idle())
        if bars := self.bars():
            rows = [
                (name, f"{value:.2f}", f"{bound:g}", "yes" if value <= bound else "**no**")
                for name, value, bound in bars
            ]
            parts.append(table("bar|measured|at most|kept", rows))
        return "\n\n".join(parts) + "\n"

    def _machine(self) -> str:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
        cpu = next(models, platform.machine())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        return (
            f"{now}; Linux {platform.release()}; {cpu}; {versions}.\n"
            f"Each proxy has one worker on one core; wrk and the app share another. {self.how}\n"
            "CPU is the proxy's own, user and system, of all its processes, by request done; the ratio is to nginx."
        )

    def _works(self) -> str:
        rows = []
        for work, proxies in self.rounds.items():
            for proxy, runs in proxies.items():
                middle = {part: median(getattr(run, part) for run in runs) for part in Round.__annotations__}
                spread = f"{min(run.cpu for run in runs):.1f}–{max(run.cpu for run in runs):.1f}"
                ratio = f"{middle['cpu'] / self.cpu(work, 'nginx'):.2f}" if "nginx" in proxies else ""
                rows.append((
                    f"{work}: {WORKS[work].what}" if proxy == next(iter(proxies)) else "",
                    proxy,
                    f"{middle['cpu']:.1f}",
                    spread,
                    ratio,
                    f"{middle['p50']:,.0f}",
                    f"{middle['p99']:,.0f}",
                    f"{middle['rate']:,.0f}",
                    f"{middle['switches']:.2f}",
                    f"{middle['rss']:.1f}",
                    f"{middle['peak']:.1f}",
                ))
        head = "work|proxy|CPU µs|lowest–highest|ratio|p50 µs|p99 µs|requests/s|switches/request|RSS MiB|peak MiB"
        return table(head, rows)

    def _idle(self) -> str:
        head = "idle|first 200 after exec, ms|RSS MiB|wake-ups/s|KiB per idle connection"
        rows = [
            (proxy, f"{idle.start:.1f}", f"{idle.rss:.1f}", f"{idle.wakeups:.1f}", f"{idle.per_connection:.1f}")
            for proxy, idle in self.idle.items()
        ]
        return table(head, rows)


def table(head: str, rows: list[tuple[str, ...]]) -> str:
    """Numbers to the right, and columns that line up in the source too."""
    lines = [tuple(head.split("|")), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    words = [not any(row[column][:1].isdigit() for row in rows) for column in range(len(widths))]

    def text(line: tuple[str, ...]) -> str:
        cells = (cell.ljust(width) if word else cell.rjust(width) for cell, width, word in zip(line, widths, words))
        return f"| {' | '.join(cells)} |"

    rule = "|".join("-" * (width + 2) if word else "-" * (width + 1) + ":" for width, word in zip(widths, words))
    return "\n".join([text(lines[0]), f"|{rule}|", *map(text, rows)])
