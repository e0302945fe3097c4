"""Bun: what `/server` was first written for. Only its own answer is compared: it passes nothing on."""

import dataclasses

from ..ground import find, free_port
from .peer import Peer


class Bun(Peer):
    name = "bun"

    def start(self, stack, shape):
        folder, kept = self.place(stack)
        port, script = free_port(), kept / "serve.js"
        cert, key = self.base.cert, self.base.key
        secure = f"tls: {{ cert: Bun.file('{cert}'), key: Bun.file('{key}') }}," if shape.tls else ""
        script.write_text(
            "// Written anew by tests/bench/run.\n"
            f"Bun.serve({{ hostname: '127.0.0.1', port: {port}, {secure}\n"
            "  fetch: () => new Response('ok', { headers: { 'Content-Type': 'text/plain' } }) });\n"
        )
        serving = self.run(stack, [find("bun"), str(script)], folder, kept, port, shape)
        return dataclasses.replace(serving, worker=None, counts=None)
