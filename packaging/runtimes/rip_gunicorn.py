"""gunicorn's threaded worker whose applications are told the client's address, which a Unix socket does not have.

Never here: how a request is read or answered.
"""

from gunicorn.workers.gthread import ThreadWorker

from rip_client import client_of


class Worker(ThreadWorker):
    def load_wsgi(self):
        super().load_wsgi()
        self.wsgi = told(self.wsgi)


def told(application):
    """The application with REMOTE_ADDR, SERVER_NAME, SERVER_PORT and the scheme as the client sees them."""

    def of_client(environ, start_response):
        # The server itself asks without these fields, until the worker is ready.
        environ["REMOTE_ADDR"] = client_of(environ.get("HTTP_X_FORWARDED_FOR", "")) or "127.0.0.1"
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "")
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        name, port = split(environ.get("HTTP_HOST", ""))
        forwarded = environ.get("HTTP_X_FORWARDED_PORT", "")
        port = forwarded if forwarded.isdecimal() else port
        environ["SERVER_NAME"] = name or "localhost"
        environ["SERVER_PORT"] = port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")
        return application(environ, start_response)

    return of_client


def split(host):
    """Name and port of a Host field; an IPv6 address keeps its brackets."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isdecimal() else (host, "")
