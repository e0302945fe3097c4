"""What the kernel says of processes and cores: CPU time, memory, who else was there."""

import os
import socket
from pathlib import Path

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
    """User and system time of the processes with all their threads, also those that have ended."""
    return sum(int(stat[11]) + int(stat[12]) for stat in map(fields, pids) if stat) / TICK


def largest_rss(pids):
    """Resident kB of the largest process: the one that serves."""
    return max((int(stat[21]) * os.sysconf("SC_PAGE_SIZE") // 1024 for stat in map(fields, pids) if stat), default=0)


def core_busy(core):
    """Seconds that the core was not idle, whoever used it, time stolen by the machine's host included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *times = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, times[:8])
            return (user + nice + system + irq + softirq + steal) / TICK
    return 0.0


def answered(count_socket):
    """How many requests the worker has answered so far."""
    with socket.socket(socket.AF_UNIX) as reader:
        reader.settimeout(5)
        reader.connect(str(count_socket))
        return int(reader.recv(32))
