"""What pulsegate must keep: ratios to others in the same run, and a few absolute figures."""

from dataclasses import dataclass

# CPU per request against the best of the named ones.
BOTH = ("nginx", "haproxy")
CPU_RATIO = {
    "get64": (0.85, BOTH),
    "get512": (0.85, BOTH),
    "get1": (0.88, BOTH),
    "post4k": (0.85, BOTH),
    "get1m": (0.60, (*BOTH, "envoy")),
    "newconn": (0.95, BOTH),
    "rate4k": (0.85, BOTH),
    "sse": (0.95, ("nginx",)),
    "health": (0.95, ("nginx",)),
    "detailed": (1.3, ("nginx",)),
}
# Latency against nginx.
LATENCY_RATIO = {("get1", "p50"): 1.0, ("rate4k", "p99"): 1.1, ("sse", "p50"): 1.0}

JOINED = 0.01  # of the events that nginx's clients got apart
IDLE_RSS_MIB = 10
PEAK_MIB = 16
KIB_PER_CONNECTION = 2
START_MS = 15
BINARY_MIB = 15


@dataclass(frozen=True)
class Bar:
    what: str
    measured: float
    most: float

    @property
    def kept(self) -> bool:
        return self.measured <= self.most


def bars(results) -> list[Bar]:
    """Only of what was measured."""
    found = []
    for work, (bound, others) in CPU_RATIO.items():
        there = [other for other in others if other in results.rounds.get(work, {})]
        # Without a guest the bar still holds against the others; without those there is none.
        if "pulsegate" in results.rounds.get(work, {}) and set(there) >= set(others) - {"envoy"}:
            unit = "event" if work == "sse" else "request"
            what = f"{work}: CPU per {unit}, against the best of {', '.join(there)}"
            found.append(Bar(what, results.against_best(work, "pulsegate", there), bound))
    for (work, part), bound in LATENCY_RATIO.items():
        if {"pulsegate", "nginx"} <= results.rounds.get(work, {}).keys():
            ratio = results.against(work, "pulsegate", "nginx", part)
            found.append(Bar(f"{work}: {part}, against nginx", ratio, bound))
    if {"pulsegate", "nginx"} <= results.rounds.get("sse", {}).keys():
        more = results.middle("sse", "pulsegate", "joined") - results.middle("sse", "nginx", "joined")
        found.append(Bar("sse: share of events held back until the next one, beyond nginx's", max(0.0, more), JOINED))
    if idle := results.idle.get("pulsegate"):
        found.append(Bar("idle RSS, MiB", idle.rss, IDLE_RSS_MIB))
        found.append(Bar("KiB per idle connection, at 5,000", idle.per_connection, KIB_PER_CONNECTION))
        found.append(Bar("first 200 after exec, ms", idle.start, START_MS))
    peaks = [run.peak for works in results.rounds.values() for run in works.get("pulsegate", [])]
    peaks += [idle.peak for name, idle in results.idle.items() if name == "pulsegate"]
    if peaks:
        found.append(Bar("peak RSS under all that was measured, MiB", max(peaks), PEAK_MIB))
    if results.binary_mib:
        found.append(Bar("the binary, stripped, MiB", results.binary_mib, BINARY_MIB))
    return found
