"""What an idle connection costs: memory of the proxy with many of them held, less that before, for each."""

import subprocess
import sys
import time
from pathlib import Path

from . import sample
from .ground import Failed
from .measure import Measure

# So long nothing happens before anybody looks: what a server tidies up after a request, it has tidied up.
REST = 2.0


def measure(base, peer, scenario, number, seconds):
    wanted = min(scenario.connections, base.open_files - 1_000)
    with peer.serving(scenario.shape) as serving:
        pids = sample.family(serving.pid, serving.worker)
        before, start = sum(sample.rss_kb(pids).values()), time.monotonic()
        with Holder(base, serving, wanted, scenario.shape) as holder:
            opened = time.monotonic() - start
            time.sleep(min(REST, seconds))
            then, cpu = time.monotonic(), sum(sample.cpu_seconds(pids).values())
            time.sleep(min(REST, seconds))
            after = sum(sample.rss_kb(pids).values())
            busy = (sum(sample.cpu_seconds(pids).values()) - cpu) / (time.monotonic() - then)
            left = holder.end()
        if left != wanted:
            raise Failed(f"{serving.peer} closed {wanted - left} of {wanted} idle connections")
    more = {"held": wanted, "rss_before_kb": before, "idle_cpu_share": round(busy, 4)}
    each = (after - before) / wanted
    return Measure(scenario.name, serving.peer, number, each, wanted / opened, rss_kb=after, more=more)


class Holder:
    """The connections, held by another process."""

    def __init__(self, base, serving, number, shape):
        program = Path(__file__).with_name("holder.py")
        command = base.on(1, [sys.executable, "-B", str(program), str(serving.port), str(number)], shape)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.number = number

    def __enter__(self):
        try:
            self.told("held", self.process.stdout.readline())
        except BaseException:
            self.__exit__()
            raise
        return self

    def end(self):
        """How many are still open; then none is."""
        answer, _ = self.process.communicate(timeout=60)
        return self.told("left", answer)

    def told(self, word, line):
        if not line.startswith(word):
            raise Failed(f"the holder of {self.number} connections ended too early")
        return int(line.split()[1])

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
