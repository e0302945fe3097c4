"""One measure: a fresh proxy, load, and what the proxy cost within a window of it."""

import contextlib
import time
from dataclasses import dataclass

from . import sample
from .ground import Failed
from .load import Load

WARM_UP = 0.5


@dataclass(frozen=True)
class Measure:
    scenario: str
    peer: str
    round: int
    cpu_us: float  # of the proxy's processes, per request
    per_second: float
    p50_us: float
    p99_us: float
    rss_kb: int
    foreign: float  # share of the proxy's core that others took


@dataclass(frozen=True)
class Point:
    time: float
    cpu: float
    core: float
    requests: int
    pids: list


def measure(base, peer, scenario, number, seconds):
    with peer.serving(scenario.tls) as serving:
        return load_and_look(base, serving, scenario, number, seconds)


def load_and_look(base, serving, scenario, number, seconds):
    counted = None if scenario.by_proxy else serving.count
    before = look(base, serving, None)
    with contextlib.closing(Load(base, scenario, serving.url, WARM_UP + seconds)) as load:
        time.sleep(WARM_UP)
        first = look(base, serving, counted)
        time.sleep(seconds)
        last = look(base, serving, counted)
        rss = sample.largest_rss(last.pids)
        requests, p50, p99 = load.outcome()
    if counted is None:
        # Nobody but the load generator counts: the whole of its run is the window.
        first, last = before, look(base, serving, None)
    else:
        requests = last.requests - first.requests
    if first.pids != last.pids:
        raise Failed(f"{serving.peer}'s processes changed: {first.pids}, then {last.pids}")
    if requests <= 0:
        raise Failed(f"{serving.peer} had nothing answered in the window")
    took, cpu = last.time - first.time, last.cpu - first.cpu
    foreign = max(0.0, last.core - first.core - cpu) / took
    return Measure(
        scenario.name, serving.peer, number, cpu / requests * 1e6, requests / took, p50, p99, rss, foreign
    )


def look(base, serving, count):
    pids = sample.family(serving.pid, serving.worker)
    requests = sample.answered(count) if count else 0
    core = sample.core_busy(base.cpus[0]) if base.cpus else 0.0
    return Point(time.monotonic(), sample.cpu_seconds(pids), core, requests, pids)
