"""For gunicorn and uvicorn in a command of the app's own, whatever their worker classes and config files: requests over a
Unix socket, which has no client's address, get that of rip-server's fields.

Every Python loads a module of this name at its start; this folder is in the PYTHONPATH of commands that name them. Never
here: anything for another program. The sitecustomize that would have been loaded is loaded as well.
"""

import importlib.machinery
import importlib.util
import os
import sys


def of_gunicorn(wsgi):
    """Changes the module that makes the environment of a request."""
    from rip_wsgi import tell

    create = wsgi.create

    def created(*args, **named):
        response, environ = create(*args, **named)
        if not environ.get("REMOTE_ADDR"):
            tell(environ)
        return response, environ

    wsgi.create = created


def of_uvicorn(proxy_headers):
    """Changes the class that believes a proxy which it knows by its address."""
    from rip_scope import tell

    known = proxy_headers.ProxyHeadersMiddleware.__call__

    async def called(self, scope, receive, send):
        if scope["type"] in ("http", "websocket") and not scope.get("client"):
            tell(scope)
            return await self.app(scope, receive, send)
        return await known(self, scope, receive, send)

    proxy_headers.ProxyHeadersMiddleware.__call__ = called


CHANGES = {"gunicorn.http.wsgi": of_gunicorn, "uvicorn.middleware.proxy_headers": of_uvicorn}


class Changed:
    """Finds these modules, and has them changed once they are loaded."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        change = CHANGES.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path) if change else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


def load_the_other():
    own = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [folder for folder in sys.path if os.path.abspath(folder) != own]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


sys.meta_path.insert(0, Changed)
load_the_other()
