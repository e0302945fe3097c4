"""A program: holds TLS connections that have each had one request answered, until its standard input ends.

`holder.py PORT NUMBER`: prints `held NUMBER` once all are there, and at the end `left NUMBER`: those that nobody closed
meanwhile. Never here: what a connection costs (idle).
"""

import select
import socket
import ssl
import sys


def main():
    port, number = map(int, sys.argv[1:])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the checks look at the certificate
    held = [one(context, port, number) for number in range(number)]
    print(f"held {len(held)}", flush=True)
    sys.stdin.read()
    watch = select.poll()
    for connection in held:
        watch.register(connection.fileno(), select.POLLIN)
    # Nothing more is due from the server: what can be read now is an end.
    print(f"left {len(held) - len(watch.poll(0))}", flush=True)


def one(context, port, number):
    # From several addresses: one has no more than 28,000 ports, and those of earlier runs rest for a minute.
    here = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(f"127.0.0.{2 + number % 8}", 0))
    # The request would else wait until the server has acknowledged the handshake's end.
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(here)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        piece = connection.recv(4096)
        if not piece or not answer + piece:
            sys.exit(f"connection {number}: the answer ended at {answer!r}")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"connection {number}: {answer!r}")
    return connection


if __name__ == "__main__":
    main()
