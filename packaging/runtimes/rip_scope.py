"""What an ASGI application is told of its client where workers listen on a Unix socket: address and scheme.

Never here: how a request is read or answered.
"""

from rip_client import client_of


def tell(scope):
    """Sets the client, and the scheme as the client sees it."""

    def field(wanted):
        return b",".join(value for name, value in scope["headers"] if name == wanted).decode("latin-1")

    # The server itself asks without these fields, until the worker is ready.
    scope["client"] = (client_of(field(b"x-forwarded-for")) or "127.0.0.1", 0)
    scheme = field(b"x-forwarded-proto")
    if scheme in ("http", "https"):
        scope["scheme"] = scheme.replace("http", "ws") if scope["type"] == "websocket" else scheme
