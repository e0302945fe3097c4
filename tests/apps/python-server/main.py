"""A script that listens by itself, on the port that it is told in its environment."""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HERE = Path(__file__).parent


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        pause = int(query.get("ms", [100])[0]) / 1000
        match url.path:
            case "/":
                self.answer(f"hello from {HERE.name}\n")
            case "/echo":
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = {"method": self.command, "url": self.path, "headers": headers, "body": body}
                self.answer(json.dumps(answer), kind="application/json")
            case "/slow":
                time.sleep(pause)
                self.answer("slow\n")
            case "/version":
                self.answer((HERE / "VERSION").read_text())
            case "/crash":
                os._exit(1)
            case _:
                self.answer("not found\n", status=404)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def answer(self, body, status=200, kind="text/plain"):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        # One thread: an idle connection would keep the next one waiting.
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)


def stop(*_):
    # shutdown() waits for the loop in which this handler runs.
    threading.Thread(target=server.shutdown).start()


signal.signal(signal.SIGTERM, stop)
server.serve_forever(poll_interval=0.1)
