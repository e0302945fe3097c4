"""An app with what runs beside its web workers: a release step, a mailer, and a clean-up at times."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/crash":
            os._exit(1)
        body = b"hello from jobs\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


match sys.argv[1:]:
    case ["web", port]:
        HTTPServer(("127.0.0.1", int(port)), Web).serve_forever()
    case ["mailer"]:
        print("the mailer waits for mail", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while True:
            signal.pause()
    case [job]:
        print(f"{os.environ['RIP_JOB']} of generation {os.environ['RIP_GENERATION']}: {job} is done", flush=True)
