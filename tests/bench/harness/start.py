"""How long a start takes: from the command to the first request that is answered, over TLS.

A static site by the built-in worker, as a child process, on all cores. Never here: workers as units (tests/systemd).
"""

import http.client
import socket
import subprocess
import time

from . import sample
from .ground import CHECKOUT, OUT, Failed, end, free_port
from .measure import Measure
from .peers.peer import connect
from .peers.rip_server import fill
from .shape import Shape

SITE = CHECKOUT / "tests" / "apps" / "hello"
LONGEST = 60


def measure(base, peer, scenario, number, seconds):
    folder, kept = base.folder / "start", OUT / peer.name
    kept.mkdir(exist_ok=True)
    with base.fresh(folder):
        fill(folder / "state", scenario.shape.hosts, SITE)
        port = free_port()
        command = [str(peer.binary), str(SITE), *peer.listening(port), "--bind=127.0.0.1", "--no-access-log"]
        command += [f"--runtime-dir={folder / 'run'}", f"--state-dir={folder / 'state'}"]
        command = base.on(0, command, Shape(every_core=True))
        with open(kept / "start.log", "wb") as log:
            begin = time.monotonic()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                first_answer(port, process)
                took = time.monotonic() - begin
                rss = max(sample.rss_kb([process.pid]).values())
            finally:
                end(process)
    return Measure(scenario.name, peer.name, number, took * 1e3, rss_kb=rss)


def first_answer(port, process):
    give_up = time.monotonic() + LONGEST
    while not listens(port):
        if process.poll() is not None or time.monotonic() > give_up:
            raise Failed("rip-server did not start: see target/bench/rip-server/start.log")
        time.sleep(0.0005)
    connection = connect(port, tls=True)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"the first request: {error!r}") from error
    finally:
        connection.close()
    if (answer.status, body) != (200, (SITE / "index.html").read_bytes()):
        raise Failed(f"the first request was answered {answer.status}: {body[:200]!r}")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
