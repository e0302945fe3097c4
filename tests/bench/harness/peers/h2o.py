"""h2o: its config."""

import json

from ..ground import find, free_port
from ..shape import PATIENCE
from .peer import ACCESS, Peer


class H2o(Peer):
    name = "h2o"
    answers_itself = False
    expected = False

    def start(self, stack, shape):
        folder, kept = self.place(stack)
        [socket] = self.start_workers(stack, folder, shape)
        port = free_port()
        config = kept / "h2o.conf"
        # Its config is YAML, and so is JSON.
        config.write_text(json.dumps(self.config(folder, kept, socket, port, shape), indent=1) + "\n")
        return self.run(stack, [find("h2o"), "-m", "worker", "-c", str(config)], folder, kept, port, shape)

    def config(self, folder, kept, socket, port, shape):
        listen = {"host": "127.0.0.1", "port": port}
        if shape.tls:
            files = {"certificate-file": str(self.base.cert), "key-file": str(self.base.key)}
            listen["ssl"] = {**files, "minimum-version": "TLSv1.2"}
        paths = {"/": {"proxy.reverse.url": f"http://[unix:{socket}]/"}}
        config = {
            "user": "root",
            "num-threads": self.base.threads(shape),
            "max-connections": 8192 + 2 * shape.connections,
            "http1-request-timeout": PATIENCE,
            "http2-idle-timeout": PATIENCE,
            "proxy.preserve-host": "ON",
            "error-log": str(kept / "error.log"),
            "hosts": {"default": {"listen": listen, "paths": paths}},
        }
        if shape.feature == "compress":
            config["compress"] = "ON"
        if shape.log:
            config["access-log"] = str(folder / ACCESS)
        return config
