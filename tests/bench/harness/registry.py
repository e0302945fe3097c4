"""How long it takes to add a host while the server runs: one request over the control socket each, as ctl makes it."""

import http.client
import json
import socket
import time

from .ground import Failed
from .measure import Measure
from .peers.rip_server import host

ADDED = 20


def measure(base, peer, scenario, number, seconds):
    """The median of some hosts that are added after all the others."""
    with peer.serving(scenario.shape) as serving:
        control = Control(serving.folder / "run.sock")
        known = scenario.shape.hosts
        times = sorted(control.add(host(known + i)) for i in range(ADDED))
        control.close()
        # They are there, with all the others.
        probe = Control(serving.folder / "run.sock")
        entries = sum(entry["origin"] == "added" for entry in probe.ask("GET", "/registry")["entries"])
        probe.close()
    if entries != known + ADDED:
        raise Failed(f"{serving.peer} knows {entries} hosts, not {known + ADDED}")
    more = {"most_ms": round(times[-1] * 1e3, 2)}
    return Measure(scenario.name, serving.peer, number, times[len(times) // 2] * 1e3, more=more)


class Control(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))

    def ask(self, method, path, body=None):
        self.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Failed(f"{method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text)

    def add(self, name):
        """Seconds until the host is served and on the disk."""
        begin = time.monotonic()
        answer = self.ask("POST", "/registry", {"host": name})
        took = time.monotonic() - begin
        if not answer.get("changed"):
            raise Failed(f"{name} was there already: {answer}")
        return took
