"""An ASGI application without a framework: the usual routes, server-sent events, a WebSocket echo."""

import asyncio
import json
import os
from pathlib import Path
from urllib.parse import parse_qs

HERE = Path(__file__).parent


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        query = parse_qs(scope["query_string"].decode())
        await ROUTES.get(scope["path"], not_found)(scope, receive, send, query)


async def lifespan(receive, send):
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


async def root(scope, receive, send, query):
    await text(send, "hello from asgi\n")


async def echo(scope, receive, send, query):
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    answer = {
        "method": scope["method"],
        "scheme": scope["scheme"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "headers": headers,
        "body": body.decode(),
    }
    await text(send, json.dumps(answer), kind="application/json")


async def slow(scope, receive, send, query):
    await asyncio.sleep(number(query, "ms", 100) / 1000)
    await text(send, "slow\n")


async def stream(scope, receive, send, query):
    await chunks(send, query, "text/plain", "chunk {}\n")


async def sse(scope, receive, send, query):
    await chunks(send, query, "text/event-stream", "data: {}\n\n")


async def crash(scope, receive, send, query):
    os._exit(1)


async def version(scope, receive, send, query):
    await text(send, (HERE / "VERSION").read_text())


async def not_found(scope, receive, send, query):
    await text(send, "not found\n", status=404)


async def chunks(send, query, kind, line):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
    for i in range(number(query, "n", 5)):
        if i:
            await asyncio.sleep(number(query, "ms", 100) / 1000)
        await send({"type": "http.response.body", "body": line.format(i).encode(), "more_body": True})
    await send({"type": "http.response.body"})


async def text(send, body, status=200, kind="text/plain"):
    data = body.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def number(query, name, otherwise):
    return int(query.get(name, [otherwise])[0])


ROUTES = {
    "/": root,
    "/echo": echo,
    "/slow": slow,
    "/stream": stream,
    "/sse": sse,
    "/crash": crash,
    "/version": version,
}
