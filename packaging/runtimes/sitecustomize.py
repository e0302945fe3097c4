"""For gunicorn in a command of the app's own, whatever its worker class and its config file: requests over a Unix socket,
which has no client's address, get that of rip-server's fields.

Every Python loads a module of this name at its start; this folder is in the PYTHONPATH of commands that name gunicorn.
Never here: anything for another program. The sitecustomize that would have been loaded is loaded as well.
"""

import importlib.machinery
import importlib.util
import os
import sys


class OfGunicorn:
    """Finds the module in which gunicorn makes the environment of a request, and changes it once it is loaded."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "gunicorn.http.wsgi":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                change(module)

            spec.loader.exec_module = exec_module
        return spec


def change(wsgi):
    from rip_wsgi import tell

    create = wsgi.create

    def created(*args, **named):
        response, environ = create(*args, **named)
        if not environ.get("REMOTE_ADDR"):
            tell(environ)
        return response, environ

    wsgi.create = created


def load_the_other():
    own = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [folder for folder in sys.path if os.path.abspath(folder) != own]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


sys.meta_path.insert(0, OfGunicorn)
load_the_other()
