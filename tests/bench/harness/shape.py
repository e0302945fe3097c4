"""How a server is to be set up for a scenario. Never here: how one of them is told so (peers)."""

from dataclasses import dataclass

# Seconds for which every peer lets a connection do nothing.
PATIENCE = 600


@dataclass(frozen=True)
class Shape:
    """What every peer is asked for; what is not said is the peer's own default."""

    tls: bool = True
    # As many threads as there are cores, on all of them, in place of one on one.
    every_core: bool = False
    # A record of each request, in the peer's own format, to a file.
    log: bool = False
    # 0: one worker that takes many at once. Else so many, and each takes one request at a time.
    workers: int = 0
    # The worker is one thread that answers all it has read before it sleeps, and each request gets an id.
    batch: bool = False
    # Work beside passing on: "auth" (a name and a password, hashed by bcrypt), "accel" (a file that the worker names in
    # X-Accel-Redirect), "compress" (text, for clients that take it so) or "php" (a script by php-fpm).
    feature: str = ""
    # Hosts in rip-server's registry, beside those of its app.
    hosts: int = 0
    # Client connections at once, at most.
    connections: int = 1_000
    # Requests that may be with the one worker at once: no client is to wait for another.
    streams: int = 256
