"""The servers that are compared, one file each: how it is configured and started.

Same workers, same certificate, keep-alive to them. What is not said there is the peer's own default.
"""

from .bun import Bun
from .caddy import Caddy
from .h2o import H2o
from .haproxy import HAProxy
from .nginx import Nginx
from .rip_server import Before, RipServer

NAMES = ["nginx", "haproxy", "h2o", "caddy", "before", "rip-server", "bun"]
# What a moment is enough for.
SHORT = ["nginx", "haproxy", "rip-server"]


def make(base, worker, binary, before):
    """All of them, in the order in which the table has them."""
    others = [kind(base, worker) for kind in (Nginx, HAProxy, H2o, Caddy)]
    return [*others, Before(base, worker, before), RipServer(base, worker, binary), Bun(base, worker)]
