"""Workers that take one request at a time: what they get done, how long clients wait, and whether it was one.

The greatest number that a worker had in hand is the worker's own account.
"""

import contextlib
import time

from . import hangups
from .ground import Failed
from .hangups import HangUps
from .measure import Measure, under_load
from .perfect import Leavers, p99_to_p50

WORK = 0.005  # seconds a request


def measure(base, peer, scenario, number, seconds):
    with peer.serving(scenario.shape) as serving, contextlib.ExitStack() as stack:
        hang_ups = stack.enter_context(HangUps(serving.port, scenario.path)) if scenario.hang_ups else None
        begin = time.monotonic()
        first, last, outcome = under_load(base, serving, scenario, seconds)
        more = leavers(hang_ups, time.monotonic() - begin) if hang_ups else {}
    took = last.time - first.time
    per_second = (last.counts.answered - first.counts.answered) / took
    workers = scenario.shape.workers
    more = {
        "most_in_flight": last.counts.most_in_hand,
        "p99_to_p50": round(outcome.p99_us / outcome.p50_us, 3),
        "a_perfect_queue's": round(perfect(scenario), 3),
        "workers_busy": round((last.counts.in_hand - first.counts.in_hand) / took / workers, 4),
        **more,
    }
    share = per_second / (workers / WORK) * 100
    return Measure(
        scenario.name, serving.peer, number, share, per_second, outcome.p50_us, outcome.p99_us, more=more
    )


def perfect(scenario):
    leave = Leavers(hangups.PER_SECOND, hangups.LONGEST_STAY) if scenario.hang_ups else None
    return p99_to_p50(scenario.connections, scenario.shape.workers, WORK, leave)


def leavers(hang_ups, seconds):
    if hang_ups.failed or not hang_ups.left:
        raise Failed(f"clients that leave: {hang_ups.left} did; {hang_ups.failed!r}")
    return {"hang_ups_per_second": round(hang_ups.left / seconds, 1)}
