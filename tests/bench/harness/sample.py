"""What the kernel says of processes and cores, and the workers of themselves: CPU time, memory, answers."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from .ground import Failed

TICK = os.sysconf("SC_CLK_TCK")


def family(root, but_not):
    """The process and all below it, without those that run the program `but_not` and what is below them."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := fields(entry.name)):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        if but_not is None or program(pid) != str(but_not):
            found.append(pid)
            left += children.get(pid, [])
    return sorted(found)


def program(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def fields(pid):
    """Of /proc/PID/stat, from the state on; None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def cpu_seconds(pids):
    """User and system time of each of the processes with all its threads, also those that have ended."""
    stats = {pid: fields(pid) for pid in pids}
    return {pid: (int(stat[11]) + int(stat[12])) / TICK for pid, stat in stats.items() if stat}


def rss_kb(pids):
    """Resident kB of each of the processes."""
    return {pid: int(stat[21]) * PAGE // 1024 for pid, stat in ((pid, fields(pid)) for pid in pids) if stat}


PAGE = os.sysconf("SC_PAGE_SIZE")


def core_busy(core):
    """Seconds that the core was not idle, whoever used it, time stolen by the machine's host included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *times = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, times[:8])
            return (user + nice + system + irq + softirq + steal) / TICK
    return 0.0


@dataclass(frozen=True)
class Counts:
    """What all workers of a peer have done so far."""

    answered: int
    in_hand: float  # seconds, of requests that take a while
    most_in_hand: int  # at once, on the one worker that had most


def counts(folder):
    """Asks the workers whose count sockets are in the folder; one that is gone is a failure."""
    try:
        told = [tell(path) for path in folder.iterdir()]
    except OSError as error:
        raise Failed(f"a worker is gone: {error}") from error
    answered, nanoseconds, most = zip(*told)
    return Counts(sum(answered), sum(nanoseconds) / 1e9, max(most))


def tell(path):
    with socket.socket(socket.AF_UNIX) as reader:
        reader.settimeout(5)
        reader.connect(str(path))
        return tuple(map(int, reader.recv(100).split()))
