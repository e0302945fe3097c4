"""What is measured: one table. Never here: how load is made (load) or judged (report)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    tool: str  # wrk or h2load
    connections: int
    path: str = "/"
    tls: bool = True
    streams: int = 1  # per connection, over HTTP/2
    # Each connection pauses so long between its requests, in milliseconds: from, to.
    pause: tuple[int, int] | None = None
    # New connections a second, each for one request.
    connects: int = 0
    upload: int = 0  # bytes
    # Answered by the proxy itself: no worker that counts.
    by_proxy: bool = False


SCENARIOS = [
    Scenario("a", "TLS HTTP/1.1, 64 connections, 2-byte answer", "wrk", 64),
    Scenario("a1", "the same, one connection", "wrk", 1),
    # 64 connections that pause 15.5 ms on average make about 4,000 requests a second.
    Scenario("ap", "64 connections, paced at about 4,000/s", "wrk", 64, pause=(11, 20)),
    Scenario("b", "plain HTTP/1.1, 64 connections", "wrk", 64, tls=False),
    Scenario("c", "TLS HTTP/2, 16 connections x 8 streams", "h2load", 16, streams=8),
    Scenario("d", "a new TLS 1.3 connection each, no resumption", "h2load", 0, connects=800),
    Scenario("e", "100 kB answer, TLS HTTP/1.1, 16 connections", "wrk", 16, "/100k"),
    Scenario("f", "1 MB answer, TLS HTTP/1.1, 16 connections", "wrk", 16, "/1m"),
    Scenario("g", "1 MB upload, TLS HTTP/1.1, 16 connections", "wrk", 16, "/upload", upload=1_000_000),
    Scenario("l", "/server, answered by the proxy, TLS, 64 connections", "wrk", 64, "/server", by_proxy=True),
]
