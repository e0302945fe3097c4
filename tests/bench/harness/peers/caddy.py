"""Caddy: its config."""

import os

from ..ground import find, free_port
from ..scenarios import HASH, USER
from ..shape import PATIENCE
from .peer import ACCESS, Peer


class Caddy(Peer):
    name = "caddy"
    answers_itself = False
    expected = False

    def start(self, stack, shape):
        folder, kept = self.place(stack)
        [socket] = self.start_workers(stack, folder, shape)
        port = free_port()
        config = kept / "Caddyfile"
        config.write_text(self.config(folder, socket, port, shape))
        command = [find("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
        # It keeps its state below the home folder; Go would take a thread for each core.
        env = {**os.environ, "HOME": str(folder), "GOMAXPROCS": str(self.base.threads(shape))}
        env = {name: value for name, value in env.items() if not name.startswith("XDG_")}
        return self.run(stack, command, folder, kept, port, shape, env=env)

    def config(self, folder, socket, port, shape):
        log = f"    log {{\n        output file {folder / ACCESS}\n    }}\n" if shape.log else ""
        tls = f"    tls {self.base.cert} {self.base.key}\n" if shape.tls else ""
        if shape.feature == "auth":
            tls += f"    basicauth {{\n        {USER} {HASH}\n    }}\n"
        if shape.feature == "compress":
            tls += "    encode zstd gzip\n"
        if shape.feature == "php":
            passed = f"root * {folder}\n    php_fastcgi unix/{socket}"
        else:
            passed = f"""reverse_proxy unix/{socket} {{
        transport http {{
            keepalive_idle_conns_per_host {shape.streams}
        }}
    }}"""
        return f"""# Written anew by tests/bench/run.
{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2
        timeouts {{
            idle {PATIENCE}s
        }}
    }}
}}
{"https" if shape.tls else "http"}://:{port} {{
    bind 127.0.0.1
{tls}{log}    {passed}
}}
"""
