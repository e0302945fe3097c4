"""The app's own ASGI application with the client's address as rip-server knows it, for uvicorn behind trusted proxies.

uvicorn itself takes the first entry of X-Forwarded-For, which the client may have written. Never here: anything else
about a request.
"""

import os
import sys

from uvicorn.importer import import_from_string

from rip_client import client_of

# uvicorn was told where this module is and so does not look in the app's own folder.
sys.path.insert(0, os.getcwd())
if os.environ["RIP_ASGI_FOLDER"] != os.getcwd():
    sys.path.insert(0, os.environ["RIP_ASGI_FOLDER"])


def load(target):
    module, _, name = target.partition(":")
    found = import_from_string(f"{module}:{name.removesuffix('()')}")
    return found() if name.endswith("()") else found


async def application(scope, receive, send):
    if scope["type"] != "lifespan":
        fields = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        client = client_of(b",".join(fields).decode("latin-1"))
        if client:
            scope["client"] = (client, 0)
    await told(scope, receive, send)


told = load(os.environ["RIP_ASGI"])
