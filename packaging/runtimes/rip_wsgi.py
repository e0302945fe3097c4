"""What a WSGI application is told of its client where workers listen on a Unix socket: address, port, scheme, and what the
client's path begins with.

Never here: how a request is read or answered.
"""

from rip_client import client_of


def tell(environ):
    """Sets REMOTE_ADDR, SERVER_NAME, SERVER_PORT, SCRIPT_NAME and the scheme as the client sees them."""
    # The server itself asks without these fields, until the worker is ready.
    environ["REMOTE_ADDR"] = client_of(environ.get("HTTP_X_FORWARDED_FOR", "")) or "127.0.0.1"
    scheme = environ.get("HTTP_X_FORWARDED_PROTO", "")
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    # The server has taken it from the path already.
    prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "")
    if prefix:
        environ["SCRIPT_NAME"] = prefix
    name, port = split(environ.get("HTTP_HOST", ""))
    forwarded = environ.get("HTTP_X_FORWARDED_PORT", "")
    port = forwarded if forwarded.isdecimal() else port
    environ["SERVER_NAME"] = name or "localhost"
    environ["SERVER_PORT"] = port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")


def split(host):
    """Name and port of a Host field; an IPv6 address keeps its brackets."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isdecimal() else (host, "")
