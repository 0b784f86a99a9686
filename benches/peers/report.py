"""What was measured, as markdown, and the bars that pulsegate must keep."""

import platform
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median, quantiles

from bars import BOTH, bars
from chart import chart
from load import WORKS


@dataclass(frozen=True)
class Round:
    """One run of wrk through one proxy."""

    number: int  # from 0
    cpu: float  # µs per request
    rate: float  # requests per second
    p50: int  # µs
    p99: int
    switches: float  # context switches per request
    rss: float  # MiB, after the run
    peak: float
    joined: float  # share of events that came together with the one before


@dataclass(frozen=True)
class Idle:
    start: float  # ms from exec to the first 200
    rss: float  # MiB
    wakeups: float  # per second
    per_connection: float  # KiB
    peak: float  # MiB, with all of those connections


@dataclass
class Results:
    versions: dict[str, str]  # of proxies and wrk
    how: str
    rounds: dict[str, dict[str, list[Round]]] = field(default_factory=dict)  # by work, by proxy
    idle: dict[str, Idle] = field(default_factory=dict)
    syscalls: dict[str, float] = field(default_factory=dict)  # per request of get64, by proxy
    binary_mib: float = 0
    missing: list[str] = field(default_factory=list)

    def middle(self, work: str, proxy: str, part: str) -> float:
        return median(getattr(run, part) for run in self.rounds[work][proxy])

    def against(self, work: str, proxy: str, other: str, part: str = "cpu") -> float:
        """The median of the ratios within each round: what lay beside each other in time is compared."""
        others = {run.number: getattr(run, part) for run in self.rounds[work][other]}
        runs = self.rounds[work][proxy]
        # A guest has not been there each time.
        return median(getattr(run, part) / others[run.number] for run in runs if run.number in others)

    def against_best(self, work: str, proxy: str, others) -> float | None:
        """Against the best of those that were there."""
        return max((self.against(work, proxy, other) for other in others if other in self.rounds[work]), default=None)

    def ratio(self, work: str, proxy: str) -> float | None:
        """CPU against the better of nginx and HAProxy."""
        return self.against_best(work, proxy, BOTH)

    def svg(self) -> str:
        rows = {
            work: {proxy: self.ratio(work, proxy) for proxy in proxies}
            for work, proxies in self.rounds.items()
            if set(BOTH) & proxies.keys()
        }
        # The bars of one work from the lightest to the heaviest.
        ordered = {work: dict(sorted(ratios.items(), key=lambda pair: pair[1])) for work, ratios in rows.items()}
        return chart(ordered, {work: WORKS[work].short for work in ordered})

    def kept(self) -> bool:
        return all(bar.kept for bar in bars(self))

    def markdown(self) -> str:
        parts = [self._machine()]
        if self.rounds:
            parts.append(self._works())
        if self.idle:
            parts.append(self._idle())
        if found := bars(self):
            rows = [(bar.what, f"{bar.measured:.2f}", f"{bar.most:g}", "yes" if bar.kept else "**no**") for bar in found]
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
            "CPU is the proxy's own, user and system, of all its processes, by request done; the ratio is to the better of "
            "nginx and HAProxy."
            + "".join(f"\n**Without {name}, which could not be had.**" for name in self.missing)
        )

    def _works(self) -> str:
        rows = []
        for work, proxies in self.rounds.items():
            for proxy, runs in proxies.items():
                middle = {part: self.middle(work, proxy, part) for part in Round.__annotations__}
                low, _, high = quantiles([run.cpu for run in runs], n=4, method="inclusive") if len(runs) > 1 else [runs[0].cpu] * 3
                ratio = self.ratio(work, proxy)
                rows.append((
                    f"{work}: {WORKS[work].what}" if proxy == next(iter(proxies)) else "",
                    proxy,
                    f"{middle['cpu']:.1f}",
                    f"{low:.1f}–{high:.1f}",
                    f"{ratio:.2f}" if ratio else "",
                    f"{middle['p50']:,.0f}",
                    f"{middle['p99']:,.0f}",
                    f"{middle['rate']:,.0f}",
                    f"{middle['switches']:.2f}",
                    f"{middle['rss']:.1f}",
                    f"{middle['peak']:.1f}",
                ))
        head = "work|proxy|CPU µs|middle half|ratio|p50 µs|p99 µs|requests/s|switches/request|RSS MiB|peak MiB"
        return table(head, rows)

    def _idle(self) -> str:
        head = "idle|first 200 after exec, ms|RSS MiB|wake-ups/s|KiB per idle connection of 5,000"
        rows = [
            (proxy, f"{idle.start:.1f}", f"{idle.rss:.1f}", f"{idle.wakeups:.1f}", f"{idle.per_connection:.1f}")
            for proxy, idle in self.idle.items()
        ]
        if self.syscalls:
            head += "|system calls per request of get64"
            rows = [(*row, f"{self.syscalls[row[0]]:.2f}" if row[0] in self.syscalls else "") for row in rows]
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
