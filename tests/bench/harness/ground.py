"""What a run stands on: folders, certificate, ports, cores, and processes that never outlive it."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
OUT = CHECKOUT / "target" / "bench"
# Clients offer one suite and one group, so that every peer does the same cryptography whatever it would prefer.
SUITE = "TLS_AES_128_GCM_SHA256"
GROUP = "X25519"


class Failed(Exception):
    """A measure or a check that came to nothing; its text is for people."""


def find(program):
    """The program's path, also in folders that only root has in PATH, and where tests/setup has put it; else None."""
    return shutil.which(program, path=":".join([os.environ.get("PATH", ""), "/usr/sbin:/sbin", str(NODE)]))


def read_anew(program):
    """Has the next start read the program from disk. What was just written stands in the page cache in large folios,
    which Linux 6.18 maps whole: a program that was just built would have a megabyte more resident than one that was
    installed."""
    file = os.open(program, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


NODE = CHECKOUT / "tests" / ".cache" / "node" / "node_modules" / ".bin"


def open_files():
    """How many files a process may have open; raised as far as can be had or is needed, for us and all that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((max(soft, WANTED_FILES), max(hard, WANTED_FILES)), (min(hard, WANTED_FILES), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
        except (OSError, ValueError):
            # More than we may have.
            continue
    return soft


WANTED_FILES = 25_000


class Ground:
    """A temporary folder with what all peers share, and the cores."""

    def __init__(self, cpus=None):
        OUT.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="rip-bench-"))
        self.cert, self.key = self.folder / "cert.pem", self.folder / "key.pem"
        self.openssl_conf = self.folder / "openssl.cnf"
        self.open_files = open_files()
        # A library that every peer is to load before everything else: it counts allocations.
        self.preload = None
        self.all_cpus = sorted(os.sched_getaffinity(0))
        self.cpus = cpus or first_two(self.all_cpus)
        self.client_env = {**os.environ, "OPENSSL_CONF": str(self.openssl_conf)}

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def fresh(self, folder):
        """A folder for as long as the block runs."""
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def make_certificate(self):
        san = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        self.quietly(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-subj", "/CN=localhost", "-addext", san, "-keyout", self.key, "-out", self.cert]
        )
        (self.folder / "both.pem").write_text(self.cert.read_text() + self.key.read_text())
        self.openssl_conf.write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = clients\n"
            f"[clients]\nMinProtocol = TLSv1.3\nCiphersuites = {SUITE}\nGroups = {GROUP}\n"
        )

    def quietly(self, command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise Failed(f"{command[0]} failed:\n{done.stdout.decode(errors='replace')}")

    def on(self, core, command, shape):
        """The command, pinned: core 0 is the proxy's, core 1 is everybody else's."""
        if self.cpus is None:
            return list(command)
        cores = ",".join(map(str, self.all_cpus)) if shape.every_core else str(self.cpus[core])
        return ["taskset", "-c", cores, *command]

    def threads(self, shape):
        return len(self.all_cpus) if shape.every_core else 1


def pattern(length):
    """The bytes that workers answer with: the period is a prime, so that a piece that is missing or moved shows."""
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def first_two(cpus):
    return tuple(cpus[:2]) if len(cpus) > 1 else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, log, output=None, **options):
    """A process for as long as the block runs; ended by its own pid, and its group's if it does not go."""
    with open(log, "ab") as errors, open(output or log, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        end(process)


def end(process):
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # What it left in its own process group (it leads one) goes with it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_until(ready, what, process, log, seconds=15):
    """Polls `ready` until it says so; fails when the process ends first, or time is up."""
    give_up = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > give_up:
            raise Failed(f"{what} did not start:\n{Path(log).read_text(errors='replace')[-2000:]}")
        time.sleep(0.005)
