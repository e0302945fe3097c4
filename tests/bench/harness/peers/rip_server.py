"""rip-server: its words, its app's `rip.toml`, its registry."""

import json
import os

from ..ground import free_port
from ..scenarios import HASH, USER
from ..shape import PATIENCE
from .peer import PHP, PHP_PROCESSES, Peer


class RipServer(Peer):
    name = "rip-server"

    def __init__(self, base, worker, binary):
        super().__init__(base, worker)
        self.binary = binary

    def program(self):
        return self.binary

    def start(self, stack, shape):
        folder, kept = self.place(stack)
        app = folder / "app"
        app.mkdir()
        self.make_files(app, shape)
        if shape.feature == "php":
            (app / "index.php").write_text(PHP)
            text = f"# Written anew by tests/bench/run.\nconcurrency = {PHP_PROCESSES}\nrecycle = \"off\"\n"
        else:
            text = self.rip_toml(folder, shape)
        if shape.feature == "auth":
            (app / "users").write_text(f"{USER}:{HASH}\n")
        (app / "rip.toml").write_text(text)
        (kept / "rip.toml").write_text(text)
        state, port = folder / "state", free_port()
        fill(state, shape.hosts, app)
        command = [str(self.binary), str(app), f"w:{max(1, shape.workers)}", f"--threads={self.base.threads(shape)}"]
        command += ["--bind=127.0.0.1", f"--runtime-dir={folder / 'run'}", f"--state-dir={state}"]
        command += [] if shape.log else ["--no-access-log"]
        command += self.listening(port) if shape.tls else [f"http:{port}"]
        limits = {"RIP_LIMITS_KEEPALIVE": f"{PATIENCE}s"}
        if shape.connections > 5000:
            limits["RIP_LIMITS_MAX_CONNECTIONS"] = str(shape.connections + 200)
        words = " ".join([*(f"{name}={value}" for name, value in limits.items()), *command])
        (kept / "command").write_text(words + "\n")
        return self.run(stack, command, folder, kept, port, shape, env={**os.environ, **limits})

    def rip_toml(self, folder, shape):
        words = [str(self.worker), "--fd", "3", "--count", str(folder / "counts")]
        worker = self.base.on(1, words + (["--batch"] if shape.batch else []), shape)
        # One request each is what it does when nothing is said.
        many = "" if shape.workers else f"concurrency = {shape.streams}\n"
        return f"""# Written anew by tests/bench/run.
command = {toml(worker)}
listen = "fd"
{many}recycle = "off"
{FEATURES.get(shape.feature, "")}"""

    def listening(self, port):
        return [f"https:{port}", "--no-redirect-http", f"--cert={self.base.cert}", f"--key={self.base.key}"]


FEATURES = {
    "auth": 'auth = { users = "users" }\n',
    "accel": 'accel = [{ path = "/files", root = "files" }]\n',
    "compress": 'compress = "all"\n',
}


class Before(RipServer):
    """Another build of rip-server, named by --before: what a change costs is the ratio of the two in one run."""

    name = "before"
    # Most runs compare with other servers alone.
    expected = False

    def missing(self):
        return None if self.binary else "no build is named: --before FILE"


def fill(state, hosts, app):
    """Hosts that somebody added before the start, in the registry's own format."""
    if not hosts:
        return
    state.mkdir(mode=0o700)
    entries = (json.dumps({"host": host(i), "path": str(app), "intent": "run"}) for i in range(hosts))
    (state / "registry.json").write_text('{"version":1,"hosts":[\n' + ",\n".join(entries) + "\n]}\n")
    (state / "registry.json").chmod(0o600)


def host(number):
    return f"host{number:06}.bench.example"


def toml(words):
    return "[" + ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words) + "]"
