"""That a peer does the work before it is measured: exact bytes, status 200, our certificate, the agreed suite."""

import http.client
import ssl
import subprocess

from .ground import GROUP, SUITE, Failed, find


def pattern(length):
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def fnv(data):
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return total


LARGE = pattern(1_000_000)
SUM = f"{len(LARGE)} {fnv(LARGE):016x}".encode()


def check(serving, base, proxied):
    """Raises `Failed` at the first difference."""
    requests = [("GET", "/server", None, b"ok")]
    if proxied:
        requests = [
            ("GET", "/", None, b"ok"),
            ("GET", "/100k", None, pattern(100_000)),
            ("GET", "/1m", None, LARGE),
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
    if serving.tls:
        agreed(serving, base)
    if serving.tls and proxied:
        over_http2(serving)


def connect(serving, base):
    if not serving.tls:
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
    client = find("nghttp")
    if not client:
        return
    done = subprocess.run([client, "-y", serving.url + "/1m"], capture_output=True, timeout=20)
    same(f"{serving.peer} GET /1m over HTTP/2", done.stdout, LARGE)


def same(what, found, expected):
    if found != expected:
        raise Failed(f"{what}: got {short(found)}, not {short(expected)}")


def short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:120]}... ({len(text)} long)"
