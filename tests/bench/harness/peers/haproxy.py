"""HAProxy: its config. Its only access log without a syslog server goes to standard output."""

from ..ground import find, free_port
from ..shape import PATIENCE
from .peer import Peer


class HAProxy(Peer):
    name = "haproxy"

    def start(self, stack, shape):
        folder, kept = self.place(stack)
        sockets = self.start_workers(stack, folder, shape)
        port = free_port()
        config = kept / "haproxy.cfg"
        config.write_text(self.config(sockets, port, shape))
        return self.run(stack, [find("haproxy"), "-db", "-f", str(config)], folder, kept, port, shape)

    def config(self, sockets, port, shape):
        secure = f" ssl crt {self.base.folder}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2" if shape.tls else ""
        one = " maxconn 1" if shape.workers else ""
        # A request leaves the queue with its client, as it does in rip-server: else it would not be the same work.
        leaving = "    option abortonclose\n" if shape.workers else ""
        # rip-server gives every request one; where it is what is measured, so does this.
        id = "    http-request set-header X-Request-Id %[uuid()]\n" if shape.batch else ""
        servers = "\n".join(f"    server worker{i} unix@{socket}{one}" for i, socket in enumerate(sockets))
        # Its own count of descriptors is twice the connections and more; those that wait for nothing need but one.
        many = f"    maxconn {shape.connections + 200}\n    no strict-limits\n" if shape.connections > 5000 else ""
        leaving += "    compression algo gzip\n    compression type text/plain\n" if shape.feature == "compress" else ""
        log = "    log stdout format raw local0\n" if shape.log else ""
        logged = "    log global\n    option httplog\n" if shape.log else ""
        return f"""# Written anew by tests/bench/run.
global
    nbthread {self.base.threads(shape)}
{many}{log}defaults
    mode http
    timeout connect 5s
    timeout client {PATIENCE}s
    timeout server 60s
    http-reuse always
    option forwardfor
{leaving}{logged}frontend front
    bind 127.0.0.1:{port}{secure}
    http-request return status 200 content-type text/plain string ok if {{ path /server }}
    http-request set-header X-Forwarded-Proto {"https" if shape.tls else "http"}
{id}    default_backend workers
backend workers
{servers}
"""
