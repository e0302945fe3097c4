"""That a peer does the work before it is measured: exact bytes, status 200, our certificate, the agreed suite."""

import gzip
import http.client
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass

from .ground import GROUP, SUITE, Failed, find, pattern


def fnv(data):
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return total


LARGE = pattern(1_000_000)
SUM = f"{len(LARGE)} {fnv(LARGE):016x}".encode()


def check(serving, base, proxied, itself):
    """Raises `Failed` at the first difference."""
    requests = [("GET", "/server", None, b"ok")] if itself else []
    if proxied:
        requests = [
            ("GET", "/", None, b"ok"),
            ("GET", "/1k", None, LARGE[:1_000]),
            ("GET", "/100k", None, LARGE[:100_000]),
            ("GET", "/1m", None, LARGE),
            ("GET", "/sleep5", None, b"ok"),
            ("POST", "/sum", LARGE, SUM),
            *requests,
            # Twice over one connection: keep-alive works after each kind.
            ("GET", "/", None, b"ok"),
        ]
    connection = connect(serving, base)
    try:
        for method, path, body, expected in requests:
            connection.request(method, path, body)
            answer = connection.getresponse()
            same(f"{serving.peer} {method} {path}", (answer.status, answer.read()), (200, expected))
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{serving.peer} {method} {path}: {error!r}") from error
    finally:
        connection.close()
    if serving.shape.tls:
        agreed(serving, base)
    if serving.shape.tls and proxied:
        over_http2(serving)


@dataclass(frozen=True)
class Answer:
    status: int
    fields: http.client.HTTPMessage
    body: bytes


def ask(serving, base, scenario, with_field=True):
    """One request as the scenario has it."""
    connection = connect(serving, base)
    try:
        fields = dict([scenario.field] if scenario.field and with_field else [])
        connection.putrequest("GET", scenario.path, skip_accept_encoding=True)
        for name, value in fields.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{serving.peer} GET {scenario.path}: {error!r}") from error
    finally:
        connection.close()


def check_feature(serving, base, scenario):
    """That the peer does what the scenario is about. Raises `Failed` where it does not."""
    what = f"{serving.peer}, {scenario.name}"
    answer = ask(serving, base, scenario)
    same(f"{what}: status", answer.status, 200)
    match scenario.shape.feature:
        case "auth":
            same(f"{what}: without a password", ask(serving, base, scenario, with_field=False).status, 401)
        case "accel":
            same(what, answer.body, LARGE)
            same(f"{what}: X-Accel-Redirect", answer.fields["X-Accel-Redirect"], None)
        case "compress":
            coding = scenario.field[1]
            same(f"{what}: Content-Encoding", answer.fields["Content-Encoding"], coding)
            plain = ask(serving, base, scenario, with_field=False)
            same(f"{what}: uncompressed", (plain.fields["Content-Encoding"], len(plain.body)), (None, TEXT))
            if coding == "gzip":
                same(what, gzip.decompress(answer.body), plain.body)
        case "php":
            same(what, answer.body, b"ok")


TEXT = 100_000  # bytes


def connect(serving, base):
    if not serving.shape.tls:
        return http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)
    context = ssl.create_default_context(cafile=base.cert)
    connection = http.client.HTTPSConnection("127.0.0.1", serving.port, timeout=10, context=context)
    connection.connect()
    return connection


def agreed(serving, base):
    """What a client with the load generators' settings and this peer agree on."""
    done = subprocess.run(
        ["openssl", "s_client", "-brief", "-CAfile", base.cert, "-verify_return_error", "-connect"]
        + [f"127.0.0.1:{serving.port}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        env=base.client_env,
    )
    told = dict(line.split(": ", 1) for line in done.stderr.splitlines() if ": " in line)
    found = tuple(told.get(name, done.stderr) for name in ("Protocol version", "Ciphersuite", "Verification"))
    same(f"{serving.peer}: TLS", found, ("TLSv1.3", SUITE, "OK"))
    same(f"{serving.peer}: the group", told.get("Server Temp Key", "").split(",")[0], GROUP)


def over_http2(serving):
    client = find("nghttp")  # comes with h2load
    if not client:
        return
    done = subprocess.run([client, "-y", serving.url + "/1m"], capture_output=True, timeout=20)
    same(f"{serving.peer} GET /1m over HTTP/2", done.stdout, LARGE)


def no_sessions(base):
    """That h2load, whose connections are to be new ones, takes up no session of a server that gives tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(base.cert, base.key)
    reused = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        server = threading.Thread(target=lambda: reused.extend(serve_one(context, listener) for _ in range(SESSIONS)))
        server.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        command = [find("h2load"), "--h1", f"-n{SESSIONS}", f"-c{SESSIONS}", "-r1", url]
        subprocess.run(command, capture_output=True, timeout=60, env=base.client_env)
        server.join()
    same("h2load: sessions that were taken up", reused, [False] * SESSIONS)


def serve_one(context, listener):
    """Answers one connection's request; tells whether it took up an earlier session."""
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.recv(4096)
        return connection.session_reused


SESSIONS = 3


def same(what, found, expected):
    if found != expected:
        raise Failed(f"{what}: got {short(found)}, not {short(expected)}")


def short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:120]}... ({len(text)} long)"
