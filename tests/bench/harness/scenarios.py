"""What is measured: one table. Never here: how it is measured (load, idle, exclusive, start, registry)."""

import base64
from dataclasses import dataclass, replace
from dataclasses import field as made

from .shape import Shape

OURS = ("before", "rip-server")
PROXIES = ("nginx", "haproxy", "h2o", "caddy", *OURS)


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    # How it is measured: wrk, h2load or s_time (the load), or idle, exclusive, start, registry.
    way: str
    connections: int = 64
    path: str = "/"
    shape: Shape = Shape()
    streams: int = 1  # per connection, over HTTP/2
    # Each connection pauses so long between its requests, in milliseconds: from, to.
    pause: tuple[int, int] | None = None
    # New connections a second, each for one request.
    connects: int = 0
    # Connections take up the session of the one before.
    resumed: bool = False
    upload: int = 0  # bytes
    # A field that each request brings: name, value.
    field: tuple[str, str] | None = None
    # Answered by the proxy itself: no worker that counts.
    by_proxy: bool = False
    # While other clients connect, ask and leave.
    hang_ups: bool = False
    unit: str = "µs/req"
    most_is_best: bool = False
    peers: tuple[str, ...] = PROXIES
    # Who cannot be compared, and why: told in the table.
    unfit: dict[str, str] = made(default_factory=dict)
    times: int = 1  # in a round
    # Not in later rounds: it hardly differs, and takes long.
    rounds: int = 1_000
    # Scenarios with the same one take turns for each peer, so that they can be subtracted.
    group: str = ""

    @property
    def loaded(self):
        return self.way in TOOLS

    @property
    def warm_up(self):
        """Seconds until all connections are there."""
        return max(0.5, self.connections / 400)


TOOLS = ("wrk", "h2load", "s_time")


@dataclass(frozen=True)
class Difference:
    """Not measured: what one scenario costs more than another in the same round."""

    name: str
    title: str
    more: str
    less: str
    unit: str
    most_is_best = False
    unfit = {}


# Of feature "auth".
USER, PASSWORD = "bench", "open sesame"
# The password by bcrypt with cost 5.
HASH = "$2y$05$b/DpGEfifjgBROmrQ.Lh/.HiruVkyPCWKKDu95jZDEAnAMKhF3SZe"
BASIC = ("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
REHASHED = {"nginx": "hashes the password anew for each request"}

QUEUELESS = {"nginx": "has no queue: with max_conns=1 it answers most requests 502"}
ONE_EACH = dict(way="exclusive", path="/sleep5", unit="% of 800/s", most_is_best=True, peers=("haproxy", *OURS))

SCENARIOS = [
    Scenario("a", "TLS HTTP/1.1, 64 connections, 2-byte answer", "wrk", group="a"),
    Scenario("aL", "the same with an access log to a file", "wrk", shape=Shape(log=True), group="a"),
    Scenario(
        "aK", "the same with 100,000 hosts in the registry", "wrk", shape=Shape(hosts=100_000), peers=OURS, group="a"
    ),
    Scenario("aT", "the same with a thread for each core, nothing pinned", "wrk", shape=Shape(every_core=True)),
    Scenario("a1", "TLS HTTP/1.1, one connection", "wrk", 1),
    # 64 connections that pause 15.5 ms on average make about 4,000 requests a second.
    Scenario("ap", "TLS HTTP/1.1, 64 connections, paced at about 4,000/s", "wrk", pause=(11, 20)),
    Scenario("b", "plain HTTP/1.1, 64 connections", "wrk", shape=Shape(tls=False)),
    Scenario(
        "bT", "the same with a thread for each core, nothing pinned", "wrk", shape=Shape(tls=False, every_core=True)
    ),
    Scenario("c", "TLS HTTP/2, 16 connections x 8 streams", "h2load", 16, streams=8),
    Scenario(
        "cb", "the same with a worker that answers all it has read before it sleeps", "h2load", 16, streams=8,
        shape=Shape(batch=True), peers=("haproxy", *OURS),
    ),
    Scenario("d", "a new TLS 1.3 connection each, no resumption", "h2load", 0, connects=800),
    Scenario("e", "100 kB answer, TLS HTTP/1.1, 16 connections", "wrk", 16, "/100k"),
    Scenario("f", "1 MB answer, TLS HTTP/1.1, 16 connections", "wrk", 16, "/1m"),
    Scenario("g", "1 MB upload, TLS HTTP/1.1, 16 connections", "wrk", 16, "/upload", upload=1_000_000),
    Scenario(
        "h", "10,000 idle TLS connections after one request each", "idle", 10_000, unit="kB each", rounds=2,
        shape=Shape(connections=10_000),
    ),
    Scenario(
        "i", "one request per worker: 4 workers, 5 ms each, 64 clients", shape=Shape(workers=4), unfit=QUEUELESS,
        **ONE_EACH,
    ),
    Scenario(
        "iH", "the same while 50 clients a second hang up", shape=Shape(workers=4), hang_ups=True, unfit=QUEUELESS,
        **ONE_EACH,
    ),
    Difference("j", "access log: aL less a", "aL", "a", "µs/record"),
    Difference("k", "100,000 hosts in the registry: aK less a", "aK", "a", "µs/req"),
    Scenario(
        "ks", "start with 100,000 hosts, to the first answer", "start", unit="ms", peers=OURS, times=3,
        shape=Shape(hosts=100_000),
    ),
    Scenario(
        "ka", "adding a host to 100,000, by the control socket", "registry", unit="ms", peers=OURS,
        shape=Shape(hosts=100_000),
    ),
    Scenario(
        "l", "/server, answered by the proxy, TLS, 64 connections", "wrk", path="/server", by_proxy=True,
        peers=("nginx", "haproxy", *OURS, "bun"),
    ),
    Scenario(
        "u", "a with a name and a password in each request, by a file of bcrypt hashes", "wrk", field=BASIC,
        shape=Shape(feature="auth"), peers=("caddy", *OURS), unfit=REHASHED,
    ),
    Scenario(
        "x", "1 MB file that the worker names in X-Accel-Redirect, 16 connections", "wrk", 16, "/accel",
        shape=Shape(feature="accel"), peers=("nginx", *OURS),
    ),
    Scenario(
        "zg", "100 kB of text by gzip, TLS HTTP/1.1, 16 connections", "wrk", 16, "/text",
        field=("Accept-Encoding", "gzip"), shape=Shape(feature="compress"), peers=PROXIES,
    ),
    Scenario(
        "zz", "the same by zstd", "wrk", 16, "/text", field=("Accept-Encoding", "zstd"),
        shape=Shape(feature="compress"), peers=("caddy", *OURS),
    ),
    Scenario(
        "p", "PHP of two bytes by php-fpm with 8 processes, TLS HTTP/1.1, 16 connections", "wrk", 16, by_proxy=True,
        shape=Shape(feature="php"), peers=("nginx", "caddy", *OURS),
    ),
    Scenario("m", "start with a static site, to the first answer", "start", unit="ms", peers=OURS, times=5),
]

# How cost grows: asked for by --growth.
GROWTH = [
    *(
        Scenario(f"gc{n}", f"TLS HTTP/1.1, 2-byte answer, connections: {n}", "wrk", n, shape=Shape(streams=max(256, n)))
        for n in (1, 16, 256, 4096)
    ),
    *(
        Scenario(
            f"gw{n}", f"TLS HTTP/1.1, 64 connections, one request each for workers: {n}", "wrk", peers=OURS,
            shape=Shape(workers=n),
        )
        for n in (1, 8, 64, 256)
    ),
    *(
        Scenario(f"gs{size}", f"TLS HTTP/1.1, 16 connections, bytes: {text}", "wrk", 16, f"/{size}")
        for size, text in {"1k": "1 k", "10k": "10 k", "100k": "100 k", "1m": "1 M", "10m": "10 M"}.items()
    ),
    Scenario("gn", "a new TLS 1.3 connection each, one after the other", "s_time", 1),
    Scenario("gr", "the same with session tickets", "s_time", 1, resumed=True),
]


def select(names, table):
    """Scenarios of these names with whatever their differences need, in the table's order."""
    needed = set(names)
    for one in table:
        if isinstance(one, Difference) and one.name in names:
            needed |= {one.more, one.less}
    return [one for one in table if one.name in needed]


def small(scenario):
    """The same for a moment: proves that it works."""
    shape = replace(scenario.shape, hosts=min(scenario.shape.hosts, 1_000))
    return replace(scenario, shape=shape, connections=min(scenario.connections, 300))
