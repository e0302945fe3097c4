"""From measures to one table. Never a verdict, and never a file (record)."""

import statistics

from .scenarios import Difference

# Above this share of the proxy's core in other hands a measure is disturbed.
DISTURBED = 0.05
HEAD = ["", "peer", "best", "median", "/nginx", "/haproxy", "/before"]
HEAD += ["req/s", "p50 µs", "p99 µs", "RSS MB", "n", "disturbed", ""]


def table(measures, scenarios, peers):
    rows = [HEAD]
    for scenario in scenarios:
        here = [one for one in measures if one.scenario == scenario.name]
        if here:
            rows.append([f"{scenario.name}. {scenario.title}: {scenario.unit}"])
        rows += [row(peer, Rows(scenario, here, measures)) for peer in dict.fromkeys(one.peer for one in here)]
        rows += [[f"    {peer} {why}"] for peer, why in scenario.unfit.items() if here and peer in peers]
    return aligned(rows)


class Rows:
    """One scenario's measures, and what is best among them."""

    def __init__(self, scenario, here, measures):
        self.scenario, self.here, self.all = scenario, here, measures

    def of(self, peer):
        return [one for one in self.here if one.peer == peer]

    def best(self, peer):
        if isinstance(self.scenario, Difference):
            # The best of differences would be the luckiest pair.
            more, less = (
                [one for one in self.all if (one.scenario, one.peer) == (name, peer)]
                for name in (self.scenario.more, self.scenario.less)
            )
            return min(calm(more)) - min(calm(less))
        return (max if self.scenario.most_is_best else min)(calm(self.of(peer)))

    def ratio(self, peer, to):
        """Best to best, and in brackets the median of the ratios within each round."""
        theirs = {one.round: one for one in self.of(to)}
        if not theirs or peer == to:
            return "-"
        if isinstance(self.scenario, Difference):
            # Within a round a small difference is mostly noise, and below zero no ratio means anything.
            pairs = [quotient(median(self.of(peer)), median(self.of(to)))]
        else:
            pairs = [quotient(one.value, theirs[one.round].value) for one in self.of(peer) if one.round in theirs]
        pairs = [pair for pair in pairs if pair is not None]
        best = quotient(self.best(peer), self.best(to))
        return f"{best:.2f} ({statistics.median(pairs):.2f})" if pairs and best is not None else "-"


def quotient(one, other):
    return one / other if one > 0 and other > 0 else None


def median(measures):
    return statistics.median(calm(measures))


def row(peer, rows):
    own = rows.of(peer)
    return [
        "",
        peer,
        number(rows.best(peer)),
        number(median(own)),
        rows.ratio(peer, "nginx"),
        rows.ratio(peer, "haproxy"),
        rows.ratio(peer, "before"),
        middle([one.per_second for one in own], ".0f"),
        middle([one.p50_us for one in own], ".0f"),
        middle([one.p99_us for one in own], ".0f"),
        middle([one.rss_kb and one.rss_kb / 1024 for one in own], ".1f"),
        str(len(own)),
        "-" if own[0].foreign is None else str(sum(one.foreign > DISTURBED for one in own)),
        notes(peer, rows),
    ]


def calm(measures):
    """The values of the undisturbed measures; of all when there is no other."""
    return [one.value for one in measures if (one.foreign or 0) <= DISTURBED] or [one.value for one in measures]


def middle(values, form):
    known = [value for value in values if value is not None]
    return format(statistics.median(known), form) if known else "-"


def notes(peer, rows):
    """What else a row has to say: the median, or where one case is one too many, the worst."""
    own = rows.of(peer)
    told = []
    for name in own[0].more:
        value = WORST.get(name, statistics.median)([one.more[name] for one in own])
        told.append(f"{name.replace('_', ' ')} {value:.6g}")
    if peer != "bun" and rows.of("bun") and (times := quotient(rows.best("bun"), rows.best(peer))):
        told.append(f"{times:.2f} x bun's requests per CPU second")
    return ", ".join(told)


WORST = {"most_in_flight": max, "records_written": min, "most_ms": max, "held": min}


def number(value):
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def aligned(rows):
    """Columns for the rows; a row of one cell is a line of its own."""
    widths = [max(len(cells[i]) for cells in rows if len(cells) > 1) for i in range(len(rows[0]))]
    return "\n".join(line(cells, widths) for cells in rows)


def line(cells, widths):
    if len(cells) == 1:
        return cells[0]
    # Text to the left, numbers to the right, remarks at the end as they are.
    aligned = [text.ljust(width) if i < 2 else text.rjust(width) for i, (text, width) in enumerate(zip(cells, widths))]
    return "  ".join([*aligned[:-1], cells[-1]]).rstrip()
