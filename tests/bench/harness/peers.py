"""The proxies: how each is configured and started. Same worker, same certificate, keep-alive to it, no access log.

Each is a context manager that yields a `Serving`. What is not said here is the peer's own default.
"""

import contextlib
import http.client
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

from . import ground
from .ground import find, free_port, running, wait_until

MANY = 1_000_000_000
STREAMS = 256  # requests that may be with the worker at once; no scenario has more


@dataclass(frozen=True)
class Serving:
    peer: str
    pid: int
    port: int
    tls: bool
    worker: Path | None  # the worker's program, left out of all sums
    count: Path | None  # the worker's count socket

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


class Peer:
    name = ""

    def __init__(self, base, worker):
        self.base, self.worker = base, worker

    def missing(self):
        """Why it cannot take part; None when it can."""
        return None if find(self.name) else f"{self.name} is not installed"

    def takes(self, scenario):
        return True

    @contextlib.contextmanager
    def serving(self, tls):
        with contextlib.ExitStack() as stack:
            yield self.start(stack, tls)

    def place(self, stack):
        """A fresh folder; configs and logs stay in target/bench."""
        folder = self.base.folder / self.name
        folder.mkdir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        kept = ground.OUT / self.name
        kept.mkdir(exist_ok=True)
        return folder, kept

    def start_worker(self, stack, folder):
        path, count = folder / "worker.sock", folder / "count.sock"
        log = folder / "worker.log"
        command = self.base.on(1, [str(self.worker), "--path", str(path), "--count", str(count)])
        process = stack.enter_context(running(command, log))
        wait_until(count.exists, "the worker", process, log)
        # nginx's own processes may run as another user.
        path.chmod(0o666)
        for parent in (folder, self.base.folder):
            parent.chmod(0o755)
        return path, count

    def run(self, stack, command, kept, port, tls, count):
        log = kept / "log"
        log.unlink(missing_ok=True)
        process = stack.enter_context(running(self.base.on(0, command), log))
        wait_until(lambda: answers(port, tls), self.name, process, log)
        return Serving(self.name, process.pid, port, tls, self.worker, count)


def answers(port, tls):
    """Whether a first request is answered with success."""
    context = ssl._create_unverified_context()  # the checks look at the certificate
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    connection = kind("127.0.0.1", port, timeout=5, **({"context": context} if tls else {}))
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Nginx(Peer):
    name = "nginx"

    def start(self, stack, tls):
        folder, kept = self.place(stack)
        socket, count = self.start_worker(stack, folder)
        port = free_port()
        config = kept / "nginx.conf"
        config.write_text(self.config(folder, kept, socket, port, tls))
        command = [find("nginx"), "-p", str(folder), "-e", str(kept / "error.log"), "-c", str(config)]
        return self.run(stack, command, kept, port, tls, count)

    def config(self, folder, kept, socket, port, tls):
        secure = f" ssl http2; ssl_certificate {self.base.cert}; ssl_certificate_key {self.base.key}" if tls else ""
        scratch = "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in KINDS)
        return f"""# Written anew by tests/bench/run.
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {kept}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    {scratch}
    keepalive_requests {MANY};
    client_max_body_size 100m;
    ssl_protocols TLSv1.2 TLSv1.3;
    upstream worker {{
        server unix:{socket};
        keepalive {STREAMS};
        keepalive_requests {MANY};
    }}
    server {{
        listen 127.0.0.1:{port}{secure};
        location = /server {{ default_type text/plain; return 200 "ok"; }}
        location / {{
            proxy_pass http://worker;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


KINDS = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]


class HAProxy(Peer):
    name = "haproxy"

    def start(self, stack, tls):
        folder, kept = self.place(stack)
        socket, count = self.start_worker(stack, folder)
        port = free_port()
        config = kept / "haproxy.cfg"
        config.write_text(self.config(socket, port, tls))
        return self.run(stack, [find("haproxy"), "-db", "-f", str(config)], kept, port, tls, count)

    def config(self, socket, port, tls):
        secure = f" ssl crt {self.base.folder}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2" if tls else ""
        return f"""# Written anew by tests/bench/run.
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
    option forwardfor
frontend front
    bind 127.0.0.1:{port}{secure}
    http-request return status 200 content-type text/plain string ok if {{ path /server }}
    http-request set-header X-Forwarded-Proto {"https" if tls else "http"}
    default_backend worker
backend worker
    server worker unix@{socket}
"""


class RipServer(Peer):
    name = "rip-server"

    def __init__(self, base, worker, binary):
        super().__init__(base, worker)
        self.binary = binary

    def missing(self):
        return None

    def start(self, stack, tls):
        folder, kept = self.place(stack)
        app = folder / "app"
        app.mkdir()
        count, port = folder / "count.sock", free_port()
        worker = self.base.on(1, [str(self.worker), "--fd", "3", "--count", str(count)])
        text = f"""# Written anew by tests/bench/run.
command = {toml(worker)}
listen = "fd"
concurrency = {STREAMS}
recycle = "off"
"""
        (app / "rip.toml").write_text(text)
        (kept / "rip.toml").write_text(text)
        command = [str(self.binary), str(app), "w:1", "--threads=1", "--no-access-log", "--bind=127.0.0.1"]
        command += [f"--runtime-dir={folder / 'run'}", f"--state-dir={folder / 'state'}"]
        command += [f"http:{port}"] if not tls else [
            f"https:{port}", "--no-redirect-http", f"--cert={self.base.cert}", f"--key={self.base.key}"
        ]
        (kept / "command").write_text(" ".join(command) + "\n")
        return self.run(stack, command, kept, port, tls, count)


def toml(words):
    return "[" + ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words) + "]"


class Bun(Peer):
    """What `/server` was first written for: only its own answer is compared."""

    name = "bun"

    def takes(self, scenario):
        return scenario.by_proxy

    def start(self, stack, tls):
        folder, kept = self.place(stack)
        port, script = free_port(), kept / "serve.js"
        secure = f"tls: {{ cert: Bun.file('{self.base.cert}'), key: Bun.file('{self.base.key}') }}," if tls else ""
        script.write_text(
            "// Written anew by tests/bench/run.\n"
            f"Bun.serve({{ hostname: '127.0.0.1', port: {port}, {secure}\n"
            "  fetch: () => new Response('ok', { headers: { 'Content-Type': 'text/plain' } }) });\n"
        )
        return self.run(stack, [find("bun"), str(script)], kept, port, tls, None)
