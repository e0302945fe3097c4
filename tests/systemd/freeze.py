"""Stops one thread of a process for good: PID, the thread's name, a file that is written when it stands still."""

import ctypes
import os
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
# Threads that are no children of this process (wait(2)).
WALL = 0x40000000


def find(pid, name):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as comm:
            if comm.read().strip() == name:
                return int(task)
    sys.exit(f"{pid} has no thread {name}")


def trace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, thread, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


pid, name, told = int(sys.argv[1]), sys.argv[2], sys.argv[3]
thread = find(pid, name)
trace(PTRACE_SEIZE, thread)
trace(PTRACE_INTERRUPT, thread)
os.waitpid(thread, WALL)
open(told, "w").close()
# Whoever traces a process has to reap it before others can.
try:
    while not os.WIFSIGNALED(os.waitpid(thread, WALL)[1]):
        pass
except ChildProcessError:
    pass
