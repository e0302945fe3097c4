"""What a request costs beside time: system calls, allocations, and how often the proxy's threads give up their core.

Under load, in a window each: first the counts that disturb nothing, then strace, which says which calls they are but
makes a proxy slower and with that its batches larger. Never here: CPU time (measure).
"""

import contextlib
import re
import signal
import subprocess
import time
from pathlib import Path

from . import sample
from .ground import Failed, find
from .load import Load
from .report import aligned

# A thread's first second under strace goes to being attached.
ATTACHING = 1.0
SHOWN = 8


def costs(base, peer, scenario, seconds):
    """Per request; what cannot be had here is left out."""
    with peer.serving(scenario.shape) as serving:
        whole = scenario.warm_up + 3 * (seconds + ATTACHING)
        with contextlib.closing(Load(base, scenario, serving.url, whole)) as load:
            time.sleep(scenario.warm_up)
            pids = sample.family(serving.pid, serving.worker)
            told = {"scenario": scenario.name, "peer": serving.peer, **quiet_counts(serving, pids, seconds)}
            told |= {"syscalls": calls(base, serving, pids, seconds, scenario)} if find("perf") else {}
            told |= {"traced": traced(base, serving, pids, seconds, scenario)} if find("strace") else {}
            load.outcome()
    return told


def quiet_counts(serving, pids, seconds):
    """What can be had by looking: switches of all threads that waited for something, or that the kernel made wait, and
    allocations, unless the counter cannot be loaded: into a program that needs no libc."""
    answered, first = sample.counts(serving.counts).answered, look(serving, pids)
    time.sleep(seconds)
    last, requests = look(serving, pids), sample.counts(serving.counts).answered - answered
    if requests <= 0:
        raise Failed(f"{serving.peer} had nothing answered in the window")
    return {name: round((last[name] - first[name]) / requests, 3) for name in first}


def look(serving, pids):
    allocations = serving.allocations(pids)
    return switched(pids) | ({} if allocations is None else {"allocations": allocations})


def switched(pids):
    total = {"voluntary": 0, "nonvoluntary": 0}
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            with contextlib.suppress(OSError):
                for kind, count in re.findall(r"^(\w+)_ctxt_switches:\s+(\d+)", status.read_text(), re.M):
                    total[kind] += int(count)
    return total


def calls(base, serving, pids, seconds, scenario):
    """System calls of any kind; None where the kernel does not let us count them."""
    command = [find("perf"), "stat", "-x;", "-e", "raw_syscalls:sys_enter", "-p", ",".join(map(str, pids))]
    command = base.on(1, [*command, "--", "sleep", str(seconds)], scenario.shape)
    answered, begin = sample.counts(serving.counts).answered, time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    per_second = (sample.counts(serving.counts).answered - answered) / (time.monotonic() - begin)
    count = re.search(r"^(\d+);", done.stderr, re.M)
    return round(int(count[1]) / seconds / per_second, 2) if count and per_second else None


def traced(base, serving, pids, seconds, scenario):
    """System calls by name; empty where nobody may trace."""
    summary = base.folder / "strace"
    command = [find("strace"), "-c", "-f", "-o", str(summary), *(word for pid in pids for word in ("-p", str(pid)))]
    process = subprocess.Popen(
        base.on(1, command, scenario.shape), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        if not all(b"attached" in process.stderr.readline() for _ in pids):
            return {}
        answered = sample.counts(serving.counts).answered
        time.sleep(seconds)
        requests = sample.counts(serving.counts).answered - answered
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    # Columns: % time, seconds, usecs/call, calls, perhaps errors, syscall.
    rows = (line.split() for line in summary.read_text().splitlines())
    found = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}
    most = sorted(found.items(), key=lambda pair: -pair[1])
    return {name: round(count / requests, 2) for name, count in most if requests and count / requests >= 0.005}


def table(told):
    rows = [["", "peer", "syscalls", "traced", "waits", "forced", "allocations", "which"]]
    for scenario in dict.fromkeys(one["scenario"] for one in told):
        rows.append([f"{scenario}: per request"])
        rows += [row(one) for one in told if one["scenario"] == scenario]
    return aligned(rows)


def row(one):
    named = one.get("traced") or {}
    syscalls, allocations = one.get("syscalls"), one.get("allocations")
    return [
        "",
        one["peer"],
        "-" if syscalls is None else f"{syscalls:.1f}",
        f"{sum(named.values()):.1f}" if named else "-",
        f"{one['voluntary']:.2f}",
        f"{one['nonvoluntary']:.2f}",
        "-" if allocations is None else f"{allocations:.1f}",
        ", ".join(f"{name} {count:.2f}" for name, count in list(named.items())[:SHOWN]),
    ]
