"""A worker whose every step a test can command and see. Its listener is descriptor 3, or it binds $RIP_SOCKET or $PORT.

The test and it meet in the folder $MEET:
    views.jsonl   a line for each request, as it came, written when its head was read
    violations    what a worker must never see: two requests at once, a request that is not strictly framed
    at.NAME       written when it has come to NAME
    open.NAME     written by the test: it may go on from NAME

Environment: $START (exit, mute) spoils its start; $CONCURRENCY is how many requests it may see at once; $CLOSE ends the
connection after each answer and says so; $DROP_IDLE_MS ends idle connections and says nothing (but at.dropped.N, the
Nth); $TERM_IGNORED; $LITTLE_ROOM gives it the smallest send buffer there is, and has it ask for room before it writes.
"""

import base64
import hashlib
import itertools
import json
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from urllib.parse import parse_qs

MEET = os.environ["MEET"]
CONCURRENCY = int(os.environ.get("CONCURRENCY", "1"))
CLOSE = "CLOSE" in os.environ
LITTLE_ROOM = "LITTLE_ROOM" in os.environ
READY = "/ready"
DROP_IDLE = int(os.environ.get("DROP_IDLE_MS", "0")) / 1000 or None

LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\0\r\n]*")
FIRST_LINE = re.compile(rb"([A-Z-]+) ([!-~]+) HTTP/1\.1")

lock = threading.Lock()
accepting = threading.Event()
not_accepting = threading.Event()
numbers = itertools.count()
in_hand = 0
# Routes that have not returned: the last byte of an answer may still be on its way when its request is done with.
at_work = 0
dropped = 0
stopping = False


class Gone(Exception):
    """The other side has closed."""


def append(name, line):
    with open(os.path.join(MEET, name), "a") as file:
        file.write(line + "\n")


def violation(what):
    append("violations", f"{os.getpid()}: {what}")


def arrive(name):
    """Says that it has come to this point."""
    open(os.path.join(MEET, f"at.{name}"), "w").close()


def wait(name):
    """Says that it has come to this point, and waits until the test lets it go on."""
    arrive(name)
    while not os.path.exists(os.path.join(MEET, f"open.{name}")):
        time.sleep(0.003)


def first_time(name):
    """Whether no worker has come here before."""
    try:
        os.close(os.open(os.path.join(MEET, f"once.{name}"), os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


class Request:
    def __init__(self, conn, head):
        self.conn = conn
        self.raw = head
        lines = head.split(b"\r\n")
        first = FIRST_LINE.fullmatch(lines[0])
        if not first:
            violation(f"request line {lines[0]!r}")
            raise Gone
        self.method, self.target = first[1].decode(), first[2].decode()
        self.headers, self.trailers = [], []
        for line in lines[1:]:
            if not LINE.fullmatch(line):
                violation(f"field {line!r}")
                raise Gone
            name, value = line.decode("latin-1").split(": ", 1)
            self.headers.append((name.lower(), value))
        self.path, _, query = self.target.partition("?")
        self.query = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        self.done = False
        self.frame()

    def frame(self):
        lengths = [value for name, value in self.headers if name == "content-length"]
        encodings = [value for name, value in self.headers if name == "transfer-encoding"]
        if len(lengths) > 1 or len(encodings) > 1 or (lengths and encodings):
            violation(f"framing {lengths} {encodings}")
            raise Gone
        if encodings and encodings != ["chunked"] or lengths and not lengths[0].isdigit():
            violation(f"framing {lengths} {encodings}")
            raise Gone
        self.chunked = bool(encodings)
        self.left = int(lengths[0]) if lengths else 0
        self.read = not self.chunked and self.left == 0

    def number(self, name, otherwise):
        return int(self.query.get(name, otherwise))

    def pieces(self):
        """The body as it comes."""
        conn = self.conn
        while not self.read:
            if self.chunked:
                size = int(conn.line(), 16)
                if size == 0:
                    self.read_trailers()
                    return
                data = conn.exactly(size)
                if conn.exactly(2) != b"\r\n":
                    violation("chunk without an end")
                    raise Gone
                yield data
            else:
                data = conn.some(self.left)
                self.left -= len(data)
                self.read = self.left == 0
                yield data

    def read_trailers(self):
        while line := self.conn.line():
            if not LINE.fullmatch(line):
                violation(f"trailer {line!r}")
                raise Gone
            name, value = line.decode("latin-1").split(": ", 1)
            self.trailers.append((name.lower(), value))
        self.read = True

    def body(self):
        return b"".join(self.pieces())

    def view(self):
        return {"method": self.method, "target": self.target, "headers": self.headers, "pid": os.getpid(),
                "connection": self.conn.number, "raw": self.raw.decode("latin-1")}


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.number = next(numbers)
        self.buffer = b""
        self.request = None
        self.idled = False
        if LITTLE_ROOM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def fill(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Gone
        self.buffer += data

    def exactly(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def some(self, most):
        if not self.buffer:
            self.fill()
        data, self.buffer = self.buffer[:most], self.buffer[most:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def head(self):
        # Not after the question whether it is ready: that connection is not one the server keeps.
        idle = self.request and self.request.path != READY
        self.sock.settimeout(DROP_IDLE if idle else None)
        try:
            while b"\r\n\r\n" not in self.buffer:
                self.fill()
        except TimeoutError:
            self.idled = True
            raise
        except Gone:
            if self.buffer:
                violation(f"half a head {self.buffer!r}")
            raise
        finally:
            self.sock.settimeout(None)
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    def leave(self):
        """The request is done with. Before its last byte: the next one may come right after it."""
        global in_hand
        with lock:
            if self.request and not self.request.done:
                self.request.done = True
                in_hand -= 1

    def send(self, data):
        if LITTLE_ROOM:
            select.select([], [self.sock], [])
        self.sock.sendall(data)

    def start(self, status=200, fields=()):
        fields = [("X-Worker-Pid", os.getpid()), *fields] + ([("Connection", "close")] if CLOSE else [])
        text = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.send(f"HTTP/1.1 {status} Said\r\n{text}\r\n".encode("latin-1"))

    def answer(self, body=b"", status=200, kind="text/plain", fields=()):
        body = body if isinstance(body, bytes) else body.encode()
        fields = [("X-Worker-Pid", os.getpid()), ("Content-Type", kind), ("Content-Length", len(body)), *fields]
        fields += [("Connection", "close")] if CLOSE else []
        text = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"HTTP/1.1 {status} Said\r\n{text}\r\n".encode("latin-1")
        if self.request.method == "HEAD":
            body = b""
        self.leave()
        self.send(head + body)

    def chunk(self, data):
        data = data if isinstance(data, bytes) else data.encode()
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.leave()
        self.send(b"0\r\n\r\n")

    def serve(self):
        global in_hand, at_work, dropped
        try:
            while True:
                self.request = Request(self, self.head())
                with lock:
                    in_hand += 1
                    together = in_hand
                if together > CONCURRENCY:
                    violation(f"{together} requests at once, the last one {self.request.target}")
                if self.request.path != READY:
                    append("views.jsonl", json.dumps(self.request.view()))
                route = ROUTES.get(self.request.path.partition("/")[2].partition("/")[0], not_found)
                with lock:
                    at_work += 1
                try:
                    keep = route(self, self.request)
                finally:
                    with lock:
                        at_work -= 1
                self.leave()
                if keep is False or CLOSE or not self.request.read:
                    return
        except (Gone, OSError):
            pass
        finally:
            self.leave()
            self.sock.close()
            if self.idled:
                with lock:
                    dropped += 1
                    arrive(f"dropped.{dropped}")


def route_(conn, request):
    conn.answer("hello from the worker\n")


def not_found(conn, request):
    request.body()
    conn.answer("no such route\n", status=404)


def view(conn, request):
    """The request as it came, with its body."""
    body = request.body()
    seen = request.view() | {"body": base64.b64encode(body).decode(), "length": len(body),
                             "trailers": request.trailers}
    conn.answer(json.dumps(seen), kind="application/json")


def echo(conn, request):
    conn.answer(request.body(), kind="application/octet-stream")


def digest(conn, request):
    hashed, count = hashlib.sha256(), 0
    for piece in request.pieces():
        hashed.update(piece)
        count += len(piece)
    conn.answer(f"{count} {hashed.hexdigest()}")


def duplex(conn, request):
    """Sends every piece of the body back as it comes. Then at.NAME, or at.NAME.broken when it breaks off; with `stays` it
    has not done with it before open.NAME.leaves."""
    conn.start(fields=[("Transfer-Encoding", "chunked")])
    conn.chunk("begun\n")
    try:
        for piece in request.pieces():
            conn.chunk(piece)
    except (Gone, OSError):
        arrive(f"{request.query['name']}.broken")
        if "stays" in request.query:
            wait(f"{request.query['name']}.leaves")
        raise
    arrive(request.query["name"])
    conn.end()


def early(conn, request):
    """Begins its answer, then takes the body in and says how much it was. With `interim`: after an interim answer."""
    if "interim" in request.query:
        conn.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
    else:
        conn.start(fields=[("Transfer-Encoding", "chunked")])
        conn.chunk("begun\n")
    count = sum(map(len, request.pieces()))
    if "interim" in request.query:
        return conn.answer(str(count))
    conn.chunk(str(count))
    conn.end()


def deaf(conn, request):
    """Answers in two parts and never looks at the body."""
    conn.start(fields=[("Transfer-Encoding", "chunked"), ("Connection", "close")])
    conn.chunk("begun\n")
    wait(request.query["name"])
    conn.chunk("over\n")
    conn.end()
    return False


def pieces(conn, request):
    """Says each time a piece of the body has come."""
    count = 0
    for piece in request.pieces():
        count += len(piece)
        arrive(f"{request.query['name']}.{count}")
    conn.answer(str(count))


def version(conn, request):
    conn.answer(VERSION)


def gate(conn, request):
    request.body()
    wait(request.query["name"])
    conn.answer(f"through {request.query['name']}\n")


def slow(conn, request):
    time.sleep(request.number("ms", 100) / 1000)
    conn.answer("slow\n")


def hang(conn, request):
    arrive(request.query.get("name", "hang"))
    threading.Event().wait()


def code(conn, request):
    request.body()
    location = [("Location", request.query["location"])] if "location" in request.query else []
    conn.answer("as asked\n", status=request.number("code", 200), fields=location)


def bare_status(conn, request):
    """A status that has no body."""
    conn.leave()
    conn.start(request.number("code", 204))


def fields(conn, request):
    """Answers with the fields of the query, in the order of the query."""
    given = [tuple(part.split("=", 1)) for part in request.target.partition("?")[2].split("&")]
    conn.answer("fields\n", fields=given)


def large_head(conn, request):
    """An answer whose head has so many `bytes`, sent in pieces of `piece`; with `trailers`: whose trailers have."""
    size, piece = request.number("bytes", 0), request.number("piece", 1 << 20)
    begin = b"HTTP/1.1 200 Said\r\nContent-Length: 2\r\n"
    if "trailers" in request.query:
        conn.send(b"HTTP/1.1 200 Said\r\nTrailer: x-long\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
        begin = b""
    begin += b"X-Long: "
    data = begin + b"x" * (size - len(begin) - 4) + b"\r\n\r\n"
    assert len(data) == size
    conn.leave()
    data += b"" if "trailers" in request.query else b"ok"
    for at in range(0, len(data), piece):
        conn.send(data[at : at + piece])


def big(conn, request):
    """So many bytes, each that of its place; `at.NAME` when the last is handed to the socket."""
    left = request.number("bytes", 1 << 20)
    conn.start(fields=[("Content-Length", left)])
    block = bytes(range(256)) * 256
    while left > len(block):
        conn.send(block)
        left -= len(block)
    conn.leave()
    conn.send(block[:left])
    if "name" in request.query:
        arrive(request.query["name"])


def lines(conn, request):
    """So many `bytes` of numbered lines; what of the query begins with a capital is a field. With `cut`: half of them."""
    given = [part.split("=", 1) for part in request.target.partition("?")[2].split("&")]
    fields = [(name, value.replace("%20", " ").replace("%22", '"')) for name, value in given if name[:1].isupper()]
    size = request.number("bytes", 5000)
    body = "".join(f"line {at:06}\n" for at in range(size // 12 + 1)).encode()[:size]
    conn.start(request.number("status", 200), [("Content-Length", size), *fields])
    if "cut" in request.query:
        conn.send(body[: size // 2])
        return False
    conn.leave()
    conn.send(b"" if request.method == "HEAD" else body)


def chunks(conn, request):
    """N chunks; before each but the first it waits for NAME.i."""
    conn.start(fields=[("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")])
    for i in range(request.number("n", 3)):
        if i and "name" in request.query:
            wait(f"{request.query['name']}.{i}")
        conn.chunk(f"chunk {i}\n")
    conn.end()


def until_close(conn, request):
    """A body that ends with the connection."""
    conn.start(fields=[("Content-Type", "text/plain"), ("Connection", "close")])
    conn.leave()
    conn.send(b"all there is\n")
    return False


def events(conn, request):
    """N events, each after the test has let it go on; the first at once. Not a request any more once begun."""
    conn.leave()
    conn.start(fields=[("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
    for i in range(request.number("n", 3)):
        if i:
            wait(f"{request.query['name']}.{i}")
        conn.chunk(f"data: {i}\n\n")
    conn.send(b"0\r\n\r\n")


def endless_events(conn, request):
    """Events until the client has gone; then at.NAME."""
    conn.leave()
    conn.start(fields=[("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
    try:
        while True:
            conn.chunk("data: tick\n\n")
            time.sleep(0.02)
    except OSError:
        arrive(request.query["name"])
        raise


def endless(conn, request):
    """A body without an end; at.NAME when nobody takes it any more."""
    conn.start(fields=[("Transfer-Encoding", "chunked")])
    try:
        while True:
            conn.chunk(b"x" * 65536)
    except OSError:
        arrive(request.query["name"])
        raise


def trailers(conn, request):
    conn.start(fields=[("Trailer", "x-checksum"), ("Transfer-Encoding", "chunked")])
    conn.chunk("body before the trailers\n")
    conn.leave()
    conn.send(b"0\r\nx-checksum: abc123\r\n\r\n")


def interim(conn, request):
    """An interim answer before the real one."""
    conn.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n")
    conn.answer("after the interim one\n")


def cut(conn, request):
    """Half an answer, then nothing: the connection or the whole process ends."""
    chunked = request.query.get("framing") == "chunked"
    conn.start(fields=[("Transfer-Encoding", "chunked") if chunked else ("Content-Length", 100)])
    if chunked:
        conn.chunk("half of it")
    else:
        conn.send(b"half of it")
    if "name" in request.query:
        wait(request.query["name"])
    if "exit" in request.query:
        os._exit(7)
    return False


def stray(conn, request):
    """After `work` ms an answer that says the id of its request, in `X-Id` and in its body if it has one (`code`,
    `framing`); then, if `as` says so, bytes that belong to no answer: an `answer` of its own that says another id, or
    `noise`. They come after `ms`, or once the next request lies there (`ms=next`); `in` one piece or in `bytes`; then
    at.NAME."""
    request.body()
    time.sleep(request.number("work", 0) / 1000)
    id, code, kind = request.query["id"], request.number("code", 200), request.query.get("as")
    body = b"" if code in (204, 304) else b"id " + id.encode()
    counted = request.method != "HEAD" and code not in (204, 205, 304)
    head = f"HTTP/1.1 {code} Said\r\nX-Id: {id}\r\n"
    if request.method == "HEAD":
        body, head = b"", head + f"Content-Length: {len(body)}\r\n"
    elif request.query.get("framing") == "chunked":
        head += "Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif code == 205:
        body, head = b"", head + "Content-Length: 0\r\n"
    elif body:
        head += f"Content-Length: {len(body)}\r\n"
    unasked = {None: b"", "noise": b"id of nobody's", "answer":
               b"HTTP/1.1 200 Said\r\nX-Id: stray\r\nContent-Length: 8\r\n\r\nid stray"}[kind]
    answer = head.encode() + b"\r\n" + body
    if counted or not unasked:
        conn.leave()
    if request.query.get("ms") == "with":
        answer, unasked = answer + unasked, b""
    conn.send(answer)
    if request.query.get("ms") == "next":
        select.select([conn.sock], [], [], 0.2)
    elif unasked:
        time.sleep(request.number("ms", 0) / 1000)
    try:
        for at in range(len(unasked)) if request.query.get("in") == "bytes" else [slice(None)]:
            conn.send(unasked[at : at + 1] if isinstance(at, int) else unasked[at])
    finally:
        if "name" in request.query:
            arrive(request.query["name"])


def half_a_head(conn, request):
    conn.leave()
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    return False


def drop(conn, request):
    """Closes the connection without an answer, but lives on."""
    request.body()
    return False


def die(conn, request):
    """Ends the process before any answer: by exit, or by a signal."""
    request.body()
    if "once" in request.query and not first_time(request.query["once"]):
        return conn.answer("survived\n")
    if "signal" in request.query:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


def bytes_(conn, request):
    """Answers with exactly the bytes of the query's hex."""
    conn.leave()
    conn.send(bytes.fromhex(request.query["hex"]))
    return False


def refuse_unread(conn, request):
    """Answers without reading the body."""
    conn.answer("too much for me\n", status=413, fields=[] if request.read else [("Connection", "close")])
    return request.read


def busy(conn, request):
    """Refuses: the first time with once=NAME, else always."""
    body = request.body()
    if "once" in request.query and not first_time(request.query["once"]):
        return conn.answer(body or b"taken\n")
    conn.answer("busy\n", status=503, fields=[("Rip-Worker-Busy", "1")])


def upgrade(conn, request):
    """Changes to a protocol in which everything comes back, and `bye` ends it; with NAME: once it may go on from there."""
    if "name" in request.query:
        wait(request.query["name"])
    conn.leave()
    name = dict(request.headers).get("upgrade", "echo")
    conn.send(f"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {name}\r\n\r\n".encode())
    while not conn.buffer.startswith(b"bye"):
        data, conn.buffer = conn.buffer, b""
        conn.send(data)
        conn.fill()
    return False


def ws(conn, request):
    """A WebSocket (RFC 6455) that sends every message back; with NAME: once it may go on from there."""
    key = dict(request.headers)["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    conn.leave()
    conn.send(f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
              f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    if "name" in request.query:
        wait(request.query["name"])
    while True:
        first, second = conn.exactly(2)
        length = second & 127
        if length > 125:
            length = int.from_bytes(conn.exactly(2 if length == 126 else 8), "big")
        mask = conn.exactly(4)
        data = conn.exactly(length)
        data = bytes(a ^ b for a, b in zip(data, (mask * (length // 4 + 1))[:length]))
        if length < 126:
            size = bytes([length])
        else:
            size = b"\x7e" + length.to_bytes(2, "big") if length < 65536 else b"\x7f" + length.to_bytes(8, "big")
        conn.send(bytes([first]) + size + data)
        if first & 15 == 8:
            return False


def unlisten(conn, request):
    """Takes no connections from now on, but lives; answers once it may go on from NAME."""
    accepting.clear()
    listener.shutdown(socket.SHUT_RDWR)
    wait(request.query["name"])
    conn.answer("nobody can connect any more\n")


def full(conn, request):
    """Lets connections wait and fills the queue of those that may, until the test opens NAME."""
    accepting.clear()
    # For whoever still waits for one: it would make room in the queue later.
    waiting = [socket.create_connection(listener.getsockname())]
    not_accepting.wait()
    while True:
        sock = socket.socket()
        waiting.append(sock)
        sock.settimeout(0.2)
        try:
            sock.connect(listener.getsockname())
        except TimeoutError:
            break
    threading.Thread(target=make_room, args=(request.query["name"], waiting), daemon=True).start()
    conn.answer("the queue is full\n")


def make_room(name, waiting):
    wait(name)
    for sock in waiting:
        sock.close()
    accepting.set()


def say(conn, request):
    """Writes a line to its output."""
    print(request.query["line"], flush=True)
    conn.answer("said\n")


def environment(conn, request):
    conn.answer(json.dumps(dict(os.environ)), kind="application/json")


def memory(conn, request):
    """Takes so many bytes for good."""
    hoard.append(bytearray(os.urandom(1) * request.number("bytes", 0)))
    conn.answer("taken\n")


hoard = []
ROUTES = {
    "": route_,
    "ready": route_,
    "view": view,
    "echo": echo,
    "digest": digest,
    "pieces": pieces,
    "duplex": duplex,
    "early": early,
    "deaf": deaf,
    "version": version,
    "gate": gate,
    "slow": slow,
    "hang": hang,
    "code": code,
    "bare-status": bare_status,
    "fields": fields,
    "large-head": large_head,
    "big": big,
    "chunks": chunks,
    "until-close": until_close,
    "events": events,
    "endless-events": endless_events,
    "endless": endless,
    "trailers": trailers,
    "interim": interim,
    "cut": cut,
    "stray": stray,
    "half-a-head": half_a_head,
    "drop": drop,
    "die": die,
    "bytes": bytes_,
    "refuse-unread": refuse_unread,
    "busy": busy,
    "upgrade": upgrade,
    "ws": ws,
    "unlisten": unlisten,
    "full": full,
    "say": say,
    "environment": environment,
    "lines": lines,
    "memory": memory,
}


def stop(*_):
    raise SystemExit


def open_listener():
    if "RIP_SOCKET" in os.environ:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.environ["RIP_SOCKET"])
        listener.listen()
        return listener
    if "LISTEN_FDS" not in os.environ:
        return socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=0)
    return socket.socket(fileno=3)


def take():
    """The next connection; none once the listener is shut down."""
    if not accepting.is_set():
        not_accepting.set()
        accepting.wait()
    try:
        sock, _ = listener.accept()
    except OSError:
        return
    threading.Thread(target=Connection(sock).serve, daemon=True).start()


def main():
    global VERSION, listener
    try:
        with open("VERSION") as file:
            VERSION = file.read()
    except FileNotFoundError:
        VERSION = ""
    start = os.environ.get("START") or VERSION.strip()
    if start == "exit":
        sys.exit("cannot start: told to exit")
    if start == "mute":
        threading.Event().wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "TERM_IGNORED" in os.environ else stop)
    listener = open_listener()
    accepting.set()
    try:
        while True:
            take()
    except SystemExit:
        listener.close()
        while in_hand:
            time.sleep(0.003)
        # Tunnels go on when their request is done with: they are not waited for.
        sent_by = time.monotonic() + 0.5
        while at_work and time.monotonic() < sent_by:
            time.sleep(0.003)
        os._exit(0)


main()
