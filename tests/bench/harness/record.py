"""What is kept of a run: one JSON file, with versions and machine. Never here: a table (report)."""

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict

from .ground import CHECKOUT, OUT, find


def keep(measures, costs, failures, words, seconds):
    """Writes target/bench/TIME.json and `last.json`, and tells where."""
    text = json.dumps(
        {
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "words": words,
            "seconds": seconds,
            "machine": {"kernel": platform.release(), "cores": os.cpu_count(), "cpu": cpu_model()},
            "versions": versions(),
            "measures": [asdict(one) for one in measures],
            "costs": costs,
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
    asked = {"nginx": "-v", "haproxy": "-v", "h2o": "-v", "caddy": "version", "bun": "--version"}
    asked |= {"wrk": "-v", "h2load": "--version", "openssl": "version"}
    told = {name: first_line([find(name), word]) for name, word in asked.items() if find(name)}
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
