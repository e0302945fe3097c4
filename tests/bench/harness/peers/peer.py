"""What all peers have in common: a folder, workers, a process that answers. Never here: a config of any of them."""

import contextlib
import http.client
import os
import shutil
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import ground
from ..ground import find, pattern, running, wait_until

# Of whatever a peer would otherwise end or limit.
MANY = 1_000_000_000


@dataclass(frozen=True)
class Serving:
    """A peer that has answered its first request."""

    peer: str
    pid: int
    port: int
    shape: object
    worker: Path | None  # the worker's program, left out of all sums
    counts: Path | None  # the folder of the workers' count sockets
    folder: Path

    @property
    def url(self):
        return f"{'https' if self.shape.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def access(self):
        """The access log."""
        return self.folder / ACCESS

    def allocations(self, pids):
        """Of all processes so far, where they are counted; None where none is."""
        files = [self.folder / f"{ALLOCATIONS}.{pid}" for pid in pids]
        counts = [int.from_bytes(file.read_bytes(), sys.byteorder) for file in files if file.exists()]
        return sum(counts) if counts else None


ACCESS = "access.log"
ALLOCATIONS = "allocations"


class Peer:
    name = ""
    # Whether `/server` is answered without a worker.
    answers_itself = True
    # Whether the benchmark is incomplete without it.
    expected = True

    def __init__(self, base, worker):
        self.base, self.worker = base, worker

    def program(self):
        """The path of what is started; None where it is not installed."""
        return find(self.name)

    def missing(self):
        """Why it cannot take part; None when it can."""
        return None if self.program() else f"{self.name} is not installed"

    @contextlib.contextmanager
    def serving(self, shape):
        with contextlib.ExitStack() as stack:
            yield self.start(stack, shape)

    def place(self, stack):
        """A fresh folder, with one for counts; configs and logs stay in target/bench."""
        folder = self.base.folder / self.name
        (folder / "counts").mkdir(parents=True)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # The peer's own processes may run as another user.
        for place in (folder, self.base.folder):
            place.chmod(0o755)
        kept = ground.OUT / self.name
        kept.mkdir(exist_ok=True)
        return folder, kept

    def start_workers(self, stack, folder, shape):
        """One worker, or as many as are wanted; their sockets."""
        if shape.feature == "php":
            return [self.start_php(stack, folder, shape)]
        return [self.start_worker(stack, folder, shape, number) for number in range(max(1, shape.workers))]

    def start_worker(self, stack, folder, shape, number):
        path, log = folder / f"worker{number}.sock", folder / f"worker{number}.log"
        words = [str(self.worker), "--path", str(path), "--count", str(folder / "counts")]
        words += ["--batch"] if shape.batch else []
        process = stack.enter_context(running(self.base.on(1, words, shape), log))
        # The last thing it does before it serves.
        wait_until((folder / "counts" / str(process.pid)).exists, "the worker", process, log)
        path.chmod(0o666)
        return path

    def make_files(self, folder, shape):
        """The file that workers name in X-Accel-Redirect."""
        if shape.feature == "accel":
            (folder / "files").mkdir()
            (folder / "files" / "1m").write_bytes(pattern(1_000_000))

    def start_php(self, stack, folder, shape):
        """php-fpm with its usual settings and a fixed number of processes; its socket."""
        path, log = folder / "php.sock", folder / "php.log"
        config = folder / "php-fpm.conf"
        config.write_text(
            f"[global]\nerror_log = {log}\ndaemonize = no\n[bench]\nuser = root\ngroup = root\nlisten = {path}\n"
            f"listen.mode = 0666\npm = static\npm.max_children = {PHP_PROCESSES}\n"
        )
        (folder / "index.php").write_text(PHP)
        command = [str(php_fpm()), "-R", "-F", "-O", "-y", str(config)]
        process = stack.enter_context(running(self.base.on(1, command, shape), log))
        wait_until(path.exists, "php-fpm", process, log)
        return path

    def run(self, stack, command, folder, kept, port, shape, env=os.environ):
        """The command, once it answers. What it writes to standard output is the access log if one is wanted."""
        log = kept / "log"
        log.unlink(missing_ok=True)
        output = folder / ACCESS if shape.log else log
        if self.base.preload:
            # By env, so that it is the peer alone that loads it, not the program that pins it.
            settings = [f"LD_PRELOAD={self.base.preload}", f"BENCH_ALLOCATIONS={folder / ALLOCATIONS}"]
            command = ["env", *settings, *command]
        process = stack.enter_context(running(self.base.on(0, command, shape), log, output, env=env))
        wait_until(lambda: answers(port, shape), self.name, process, log)
        if shape.feature == "php":
            return Serving(self.name, process.pid, port, shape, php_fpm(), None, folder)
        return Serving(self.name, process.pid, port, shape, self.worker, folder / "counts", folder)


PHP = '<?php header("Content-Type: text/plain"); echo "ok";'
PHP_PROCESSES = 8


def php_fpm():
    """The path of the newest php-fpm; None where none is installed."""
    return next((Path(found).resolve() for minor in range(9, -1, -1) if (found := find(f"php-fpm8.{minor}"))), None)


def answers(port, shape):
    """Whether a first request is answered with success, or asked for a password."""
    connection = connect(port, shape.tls)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == (401 if shape.feature == "auth" else 200)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def connect(port, tls):
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=ANY)


# The checks look at the certificate.
ANY = ssl._create_unverified_context()
