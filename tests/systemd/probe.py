"""Answers with what the expression in the path comes to, in here: what may a worker do? By descriptor, path or port."""

import http.server
import os
import socket
import subprocess
import sys
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        expression = urllib.parse.unquote(self.path[1:]) or "'ready'"
        try:
            result = str(eval(expression))
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        body = result.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def address_string(self):
        return "the server"


def listener():
    if "RIP_SOCKET" in os.environ:
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(os.environ["RIP_SOCKET"])
    elif "PORT" in os.environ:
        bound = socket.socket()
        bound.bind(("127.0.0.1", int(os.environ["PORT"])))
    else:
        return socket.socket(fileno=3)
    bound.listen()
    return bound


def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)
    return "connected"


server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = listener()
server.serve_forever()
