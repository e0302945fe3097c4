"""A WSGI application without a framework: the usual routes."""

import json
import os
import time
from pathlib import Path
from urllib.parse import parse_qs

HERE = Path(__file__).parent


def application(environ, start_response):
    query = parse_qs(environ.get("QUERY_STRING", ""))
    route = ROUTES.get(environ["PATH_INFO"], not_found)
    return route(environ, start_response, query)


def root(environ, start_response, query):
    return text(start_response, "hello from wsgi\n")


def echo(environ, start_response, query):
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = {
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "headers": headers,
        "body": body.decode(),
    }
    return text(start_response, json.dumps(answer), kind="application/json")


def slow(environ, start_response, query):
    time.sleep(number(query, "ms", 100) / 1000)
    return text(start_response, "slow\n")


def stream(environ, start_response, query):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for i in range(number(query, "n", 5)):
        if i:
            time.sleep(number(query, "ms", 100) / 1000)
        yield f"chunk {i}\n".encode()


def crash(environ, start_response, query):
    os._exit(1)


def version(environ, start_response, query):
    return text(start_response, (HERE / "VERSION").read_text())


def not_found(environ, start_response, query):
    return text(start_response, "not found\n", status="404 Not Found")


def text(start_response, body, status="200 OK", kind="text/plain"):
    data = body.encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(data)))])
    return [data]


def number(query, name, otherwise):
    return int(query.get(name, [otherwise])[0])


ROUTES = {"/": root, "/echo": echo, "/slow": slow, "/stream": stream, "/crash": crash, "/version": version}
