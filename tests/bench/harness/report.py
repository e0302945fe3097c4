"""From measures to one table and one JSON file. Never a verdict."""

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import asdict

from .ground import CHECKOUT, OUT, find
from .scenarios import SCENARIOS

# Above this share of the proxy's core in other hands a measure is disturbed.
DISTURBED = 0.05
HEAD = ["", "peer", "µs/req low", "median", "/nginx", "/haproxy", "req/s", "p50 µs", "p99 µs", "RSS MB", "n", "disturbed"]


def table(measures):
    rows = [HEAD]
    for scenario in SCENARIOS:
        here = [one for one in measures if one.scenario == scenario.name]
        peers = list(dict.fromkeys(one.peer for one in here))
        if peers:
            rows.append([f"{scenario.name}. {scenario.title}"])
        rows += [row(peer, here) for peer in peers]
    widths = [max(len(line[i]) for line in rows if len(line) > 1) for i in range(len(HEAD))]
    return "\n".join(aligned(line, widths) for line in rows)


def row(peer, here):
    own = [one for one in here if one.peer == peer]
    return [
        "",
        peer,
        number(min(calm(own))),
        number(statistics.median(calm(own))),
        ratio(own, here, "nginx"),
        ratio(own, here, "haproxy"),
        f"{statistics.median(one.per_second for one in own):.0f}",
        f"{statistics.median(one.p50_us for one in own):.0f}",
        f"{statistics.median(one.p99_us for one in own):.0f}",
        f"{statistics.median(one.rss_kb for one in own) / 1024:.1f}",
        str(len(own)),
        str(sum(one.foreign > DISTURBED for one in own)),
    ]


def ratio(own, here, to):
    """Lowest to lowest, and in brackets the median of the ratios within each round."""
    theirs = {one.round: one for one in here if one.peer == to}
    pairs = [one.cpu_us / theirs[one.round].cpu_us for one in own if one.round in theirs]
    if not pairs or own[0].peer == to:
        return "-"
    return f"{min(calm(own)) / min(calm(theirs.values())):.2f} ({statistics.median(pairs):.2f})"


def calm(measures):
    """The cost per request in the undisturbed measures; in all when there is no other."""
    return [one.cpu_us for one in measures if one.foreign <= DISTURBED] or [one.cpu_us for one in measures]


def number(value):
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def aligned(line, widths):
    if len(line) == 1:
        return line[0]
    cells = [text.ljust(width) if i < 2 else text.rjust(width) for i, (text, width) in enumerate(zip(line, widths))]
    return "  ".join(cells).rstrip()


def keep(measures, failures, words, seconds):
    """Writes target/bench/TIME.json and `last.json`, and tells where."""
    text = json.dumps(
        {
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "words": words,
            "seconds": seconds,
            "machine": {"kernel": platform.release(), "cores": os.cpu_count(), "cpu": cpu_model()},
            "versions": versions(),
            "measures": [asdict(one) for one in measures],
            "failures": failures,
        },
        indent=1,
    )
    path = OUT / time.strftime("%Y%m%d-%H%M%S.json")
    for one in (path, OUT / "last.json"):
        one.write_text(text + "\n")
    return path.relative_to(CHECKOUT)


def versions():
    """What took part, as each says it; the checkout by its commit."""
    asked = {"nginx": ["-v"], "haproxy": ["-v"], "bun": ["--version"], "wrk": ["-v"], "h2load": ["--version"]}
    told = {name: first_line([find(name), *words]) for name, words in asked.items() if find(name)}
    told["checkout"] = first_line(["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"])
    return told


def first_line(command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout.splitlines() or [None])[0]


def cpu_model():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
