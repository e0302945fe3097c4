"""One measure: its form, and the most frequent kind: what a proxy costs within a window of load."""

import contextlib
import time
from dataclasses import dataclass, field, replace

from . import sample
from .check import ask
from .ground import Failed
from .load import Load


@dataclass(frozen=True)
class Measure:
    scenario: str
    peer: str
    round: int
    value: float  # in the scenario's unit; mostly CPU µs of the proxy's processes per request
    per_second: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    rss_kb: int | None = None  # of the process that serves
    foreign: float | None = None  # share of the proxy's core that others took
    # What else belongs to the row, by name: numbers, or texts for people.
    more: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    time: float
    cpu: dict[int, float]
    rss_kb: dict[int, int]
    core: float
    counts: sample.Counts | None


def measure(base, peer, scenario, number, seconds):
    """A fresh proxy under load for the seconds."""
    with peer.serving(scenario.shape) as serving:
        first, last, outcome = under_load(base, serving, scenario, seconds)
        took, cpu = last.time - first.time, sum(last.cpu.values()) - sum(first.cpu.values())
        requests = outcome.requests if scenario.by_proxy else last.counts.answered - first.counts.answered
        return Measure(
            scenario.name,
            serving.peer,
            number,
            cpu / requests * 1e6,
            requests / took,
            outcome.p50_us,
            outcome.p99_us,
            last.rss_kb[busiest(first, last)],
            None if scenario.shape.every_core else max(0.0, last.core - first.core - cpu) / took,
            more(base, serving, scenario),
        )


def more(base, serving, scenario):
    """What else the row says."""
    if scenario.shape.feature == "compress":
        return {"bytes": len(ask(serving, base, scenario).body)}
    return records(serving) if scenario.shape.log else {}


def under_load(base, serving, scenario, seconds):
    """What there was at the window's begin and end, and what the load generator says."""
    before = look(base, serving)
    with contextlib.closing(Load(base, scenario, serving.url, scenario.warm_up + seconds)) as load:
        time.sleep(scenario.warm_up)
        first = look(base, serving)
        time.sleep(seconds)
        last = look(base, serving)
        outcome = load.outcome()
    if scenario.by_proxy or (seconds < 1 and last.counts == first.counts):
        # Nobody but the load generator counts, or a moment's window came too late on a busy machine: the whole of the
        # run is the window.
        first, last = before, replace(look(base, serving), rss_kb=last.rss_kb)
    if not scenario.by_proxy and last.counts.answered <= first.counts.answered:
        raise Failed(f"{serving.peer} had nothing answered in the window")
    if first.cpu.keys() != last.cpu.keys():
        raise Failed(f"{serving.peer}'s processes changed: {list(first.cpu)}, then {list(last.cpu)}")
    return first, last, outcome


def look(base, serving):
    pids = sample.family(serving.pid, serving.worker)
    counts = sample.counts(serving.counts) if serving.counts else None
    core = sample.core_busy(base.cpus[0]) if base.cpus else 0.0
    return Point(time.monotonic(), sample.cpu_seconds(pids), sample.rss_kb(pids), core, counts)


def busiest(first, last):
    """The process that serves, whatever else there is of masters and helpers."""
    return max(last.cpu, key=lambda pid: last.cpu[pid] - first.cpu[pid])


def records(serving):
    """Which share of the requests that were answered is in the access log: all, or it was not the same work."""
    answered = sample.counts(serving.counts).answered
    give_up = time.monotonic() + 2
    while (written := lines(serving.access)) < answered and time.monotonic() < give_up:
        time.sleep(0.05)
    return {"records_written": round(min(1.0, written / answered), 3)}


def lines(path):
    with open(path, "rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
