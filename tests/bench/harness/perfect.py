"""What clients would wait in a queue that itself takes no time: first come, first served, and who leaves leaves it.

It says how much of a spread is the load's. A request takes its worker up to two per cent longer than it should, as it
does in fact: workers that were always done in the same moment would have more of a spread. Never here: a measure.
"""

import random
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

SECONDS = 60
LONGER = 0.02
STAYS = float("inf")


@dataclass(frozen=True)
class Leavers:
    """Clients besides, that ask and leave before they are answered: so many a second, each after `longest` or less."""

    per_second: float
    longest: float


def p99_to_p50(clients, workers, work, leavers=None):
    """Each client asks again as soon as it is answered, which takes `work` seconds of a worker."""
    chance = random.Random(0)
    # Since when somebody waits, and until when.
    waiting = [(0.0, STAYS)] * clients + (arrivals(leavers, chance) if leavers else [])
    heapify(waiting)
    free = [0.0] * workers
    waits = []
    while (next_one := heappop(waiting))[0] < SECONDS:
        since, until = next_one
        begins = max(since, free[0])
        if until <= begins:
            continue
        # What a worker has begun it ends, whoever has left.
        ends = begins + work * (1 + chance.uniform(0, LONGER))
        heappop(free)
        heappush(free, ends)
        if until == STAYS:
            waits.append(ends - since)
            heappush(waiting, (ends, STAYS))
    waits.sort()
    return waits[len(waits) * 99 // 100] / waits[len(waits) // 2]


def arrivals(leavers, chance):
    each = (number / leavers.per_second for number in range(int(SECONDS * leavers.per_second)))
    return [(since, since + chance.uniform(0, leavers.longest)) for since in each]
