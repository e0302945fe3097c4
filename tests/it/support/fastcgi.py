"""A FastCGI worker that does what the path says. It serves one connection at a time, as php-cgi does, and its listener is
descriptor 3. The test and it meet in the folder $MEET, as with `worker.py`: `views.jsonl` has a line for each request,
`at.NAME` and `open.NAME` are points to wait at, `once.NAME` is there once somebody came by.

$IGNORE_KEEP has it close each connection behind its answer, whatever the request says.
"""

import json
import os
import signal
import socket
import struct
import sys
import time
from urllib.parse import parse_qs

MEET = os.environ["MEET"]
BEGIN, END, PARAMS, STDIN, STDOUT, STDERR = 1, 3, 4, 5, 6, 7


def arrive(name):
    open(os.path.join(MEET, f"at.{name}"), "w").close()


def wait(name):
    arrive(name)
    while not os.path.exists(os.path.join(MEET, f"open.{name}")):
        time.sleep(0.003)


def first_time(name):
    try:
        os.close(os.open(os.path.join(MEET, f"once.{name}"), os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


class Gone(Exception):
    """The other side has closed."""


def pairs(content):
    """Name-value pairs, strictly."""
    found, at = {}, 0
    while at < len(content):
        lengths = []
        for _ in range(2):
            if content[at] < 0x80:
                lengths.append(content[at])
                at += 1
            else:
                lengths.append(struct.unpack_from(">I", content, at)[0] & 0x7FFFFFFF)
                at += 4
        name = content[at : at + lengths[0]].decode()
        value = content[at + lengths[0] : at + sum(lengths)].decode("utf-8", "surrogateescape")
        at += sum(lengths)
        assert at <= len(content) and name not in found, name
        found[name] = value
    return found


class Connection:
    def __init__(self, sock, number):
        self.sock, self.number, self.buffer = sock, number, b""

    def exactly(self, count):
        while len(self.buffer) < count:
            read = self.sock.recv(1 << 20)
            if not read:
                raise Gone
            self.buffer += read
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def record(self):
        version, kind, request, length, padding, reserved = struct.unpack(">BBHHBB", self.exactly(8))
        assert (version, request, reserved) == (1, 1, 0), (version, request, reserved)
        content = self.exactly(length)
        self.exactly(padding)
        return kind, content

    def stream(self, wanted):
        """What comes in records of one type, up to the empty one."""
        while True:
            kind, content = self.record()
            assert kind == wanted, (kind, wanted)
            if not content:
                return
            yield content

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone from None

    def send(self, kind, content=b"", padding=0):
        while True:
            piece, content = content[:65535], content[65535:]
            self.raw(struct.pack(">BBHHBB", 1, kind, 1, len(piece), padding, 0) + piece + b"-" * padding)
            if not content:
                return

    def end(self, status=0):
        self.send(END, struct.pack(">IBBBB", 0, status, 0, 0, 0))

    def answer(self, body=b"", head="Content-Type: text/plain"):
        self.send(STDOUT, head.encode() + b"\r\n\r\n" + body, padding=3)
        self.end()

    def linger(self):
        """Closes as php-cgi does: behind the other side."""
        self.sock.shutdown(socket.SHUT_WR)
        while self.sock.recv(8):
            pass

    def serve(self):
        kind, content = self.record()
        assert kind == BEGIN and content[:2] == b"\0\1", (kind, content)
        keep = content[2] & 1 and "IGNORE_KEEP" not in os.environ
        variables = pairs(b"".join(self.stream(PARAMS)))
        query = {name: values[0] for name, values in parse_qs(variables["QUERY_STRING"]).items()}
        view = {"method": variables["REQUEST_METHOD"], "target": variables["REQUEST_URI"], "pid": os.getpid()}
        with open(os.path.join(MEET, "views.jsonl"), "a") as file:
            file.write(json.dumps({**view, "headers": [], "raw": ""}) + "\n")
        route = variables["PATH_INFO"].split("/")[1]
        if route in BEFORE_BODY:
            BEFORE_BODY[route](self, variables, query)
        else:
            body = b"".join(self.stream(STDIN))
            ROUTES.get(route, not_found)(self, variables, query, body)
        return keep


def not_found(conn, variables, query, body):
    conn.answer(b"not here\n", "Status: 404 Not Found\r\nContent-Type: text/plain")


def view(conn, variables, query, body):
    said = {"variables": variables, "body": body.decode("latin-1"), "conn": conn.number, "pid": os.getpid()}
    conn.answer(json.dumps(said).encode(), "Content-Type: application/json")


def raw(conn, variables, query, body):
    """Standard output as the request's body has it, in one record or, with `cut`, in many, then the end."""
    step = int(query.get("cut", 0)) or len(body) or 1
    for at in range(0, len(body), step):
        conn.send(STDOUT, body[at : at + step], padding=at % 5)
    conn.end()


def bytes_(conn, variables, query, body):
    """What is sent is the request's body, and the connection's end."""
    conn.raw(body)
    raise Gone


def big(conn, variables, query, body):
    count = int(query["bytes"])
    head = f"Content-Length: {count}\r\n" if "length" in query else ""
    conn.send(STDOUT, f"{head}Content-Type: text/plain\r\n\r\n".encode())
    while count > 0:
        conn.send(STDOUT, b"x" * min(count, 65535))
        count -= 65535
    conn.end()


def pieces(conn, variables, query, body):
    """Says something, and the rest when it may."""
    conn.send(STDOUT, b"Content-Type: text/plain\r\n\r\nbegun,")
    wait("pieces")
    conn.send(STDOUT, b"ended")
    conn.end()


def events(conn, variables, query, body):
    conn.send(STDOUT, b"Content-Type: text/event-stream\r\n\r\ndata: one\n\n")
    wait("events")
    conn.send(STDOUT, b"data: two\n\n")
    conn.end()


def stderr(conn, variables, query, body):
    conn.send(STDERR, b"PHP Warning: ")
    conn.send(STDOUT, b"Content-Type: text/plain\r\n\r\n")
    conn.send(STDERR, b"first\nsecond\nlast without end")
    conn.send(STDOUT, b"said\n")
    conn.end()


def late_end(conn, variables, query, body):
    """An answer whose end comes later than its head."""
    conn.send(STDOUT, f"Status: {query['status']}\r\nETag: \"a\"\r\n\r\n".encode())
    wait(f"end.{query['name']}")
    conn.send(STDOUT, b"what nobody wants\n")
    conn.end()


def stall(conn, variables, query, body):
    conn.send(STDOUT, b"Content-Type: text/plain\r\n\r\nbegun,")
    time.sleep(60)


def hang(conn, variables, query, body):
    time.sleep(60)


def cut(conn, variables, query, body):
    """Begins an answer and closes the connection."""
    conn.send(STDOUT, b"Content-Type: text/plain\r\n\r\nbegun")
    raise Gone


def drop(conn, variables, query, body):
    raise Gone


def die(conn, variables, query, body):
    if "always" in query or first_time("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    conn.answer(b"alive\n")


def overloaded(conn, variables, query, body):
    if first_time("overloaded"):
        conn.end(2)
    else:
        conn.answer(b"taken\n")


def stray(conn, variables, query, body):
    """Says more than its answer."""
    conn.answer(b"answer\n")
    conn.answer(b"nobody asked\n")


def until_gone(conn, variables, query, body):
    """Writes until nobody reads, and then waits for the other side to close."""
    try:
        conn.send(STDOUT, b"Content-Type: text/plain\r\n\r\n")
        while True:
            conn.send(STDOUT, b"x" * 60000)
    except Gone:
        arrive("gone")
        conn.linger()
        raise


def deaf(conn, variables, query):
    """Answers without having read the body, and closes."""
    conn.answer(b"refused\n", "Status: 403 Forbidden\r\nContent-Type: text/plain")
    raise Gone


def as_it_comes(conn, variables, query):
    """Says how much of the body is there once something is."""
    first = next(conn.stream(STDIN))
    arrive("body.begun")
    rest = sum(map(len, conn.stream(STDIN)))
    conn.answer(f"{len(first) + rest} of {variables['CONTENT_LENGTH']}\n".encode())


BEFORE_BODY = {"deaf": deaf, "as-it-comes": as_it_comes}
ROUTES = {
    "": view,
    "ready": view,
    "view": view,
    "raw": raw,
    "bytes": bytes_,
    "big": big,
    "pieces": pieces,
    "events": events,
    "stderr": stderr,
    "late-end": late_end,
    "stall": stall,
    "hang": hang,
    "cut": cut,
    "drop": drop,
    "die": die,
    "overloaded": overloaded,
    "stray": stray,
    "until-gone": until_gone,
}


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listener = socket.socket(fileno=3)
    number = 0
    while True:
        sock, _ = listener.accept()
        number += 1
        conn = Connection(sock, number)
        try:
            while conn.serve():
                pass
        except Gone:
            pass
        sock.close()


main()
