"""What a feature costs: one scenario less another one, of the same peer in the same round."""

from .measure import Measure
from .scenarios import Difference


def derived(measures, scenarios):
    """A measure for each pair that there is."""
    made = []
    for one in scenarios:
        if isinstance(one, Difference):
            less = {(m.peer, m.round): m for m in measures if m.scenario == one.less}
            more = [m for m in measures if m.scenario == one.more and (m.peer, m.round) in less]
            made += [subtract(one, m, less[m.peer, m.round]) for m in more]
    return made


def subtract(difference, more, less):
    # As disturbed as the more disturbed one.
    foreign = max(more.foreign or 0.0, less.foreign or 0.0)
    return Measure(difference.name, more.peer, more.round, more.value - less.value, foreign=foreign)
