"""Makes load with wrk, h2load or openssl s_time and reads what they say. Never here: what the proxy costs (sample)."""

import math
import re
import subprocess
from dataclasses import dataclass

from .ground import GROUP, SUITE, Failed, find


@dataclass(frozen=True)
class Outcome:
    requests: int
    p50_us: float | None
    p99_us: float | None


class Load:
    """One load generator at work; `outcome` waits for its end."""

    def __init__(self, base, scenario, url, seconds):
        self.base, self.scenario, self.seconds = base, scenario, seconds
        self.tool = scenario.way if scenario.loaded else "wrk"
        self.log = base.folder / "requests.log"
        self.log.unlink(missing_ok=True)
        make = {"wrk": self.wrk, "h2load": self.h2load, "s_time": self.s_time}
        self.command = base.on(1, make[self.tool](url + scenario.path), scenario.shape)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=base.client_env,
        )

    def wrk(self, url):
        connections = self.scenario.connections
        # Half of the cores for it, where the proxy may have all.
        threads = min(connections, max(1, self.base.threads(self.scenario.shape) // 2))
        command = [find("wrk"), f"-t{threads}", f"-c{connections}", f"-d{whole(self.seconds)}s", "--latency"]
        # Thousands that connect at once are no failure when the last ones have to wait.
        command += ["--timeout", "20s"] if connections > 1000 else []
        if script := self.script():
            path = self.base.folder / "wrk.lua"
            path.write_text(script)
            command += ["-s", str(path)]
        command += ["-H", ": ".join(self.scenario.field)] if self.scenario.field else []
        return [*command, url]

    def script(self):
        if self.scenario.upload:
            # The same bytes as the worker's own answers; made once.
            return f"""wrk.method = "POST"
local bytes = {{}}
for i = 0, 250 do bytes[#bytes + 1] = string.char(i) end
local period = table.concat(bytes)
wrk.body = (period:rep(math.ceil({self.scenario.upload} / 251))):sub(1, {self.scenario.upload})
"""
        if self.scenario.pause:
            shortest, longest = self.scenario.pause
            return f"function delay() return math.random({shortest}, {longest}) end\n"
        return None

    def h2load(self, url):
        command = [find("h2load"), f"--tls13-ciphers={SUITE}", f"--groups={GROUP}", f"--log-file={self.log}"]
        if rate := self.scenario.connects:
            total = rate * whole(self.seconds)
            return [*command, "--h1", f"-n{total}", f"-c{total}", "-r4", f"--rate-period={4000 // rate}ms", url]
        connections, streams = self.scenario.connections, self.scenario.streams
        return [*command, f"-c{connections}", f"-m{streams}", f"-D{whole(self.seconds)}", url]

    def s_time(self, url):
        """A connection after the other. It sends HTTP/1.0; its path is made to hold the rest of a whole head."""
        _, _, place, path = url.split("/", 3)
        head = f"/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Rest: "
        way = "-reuse" if self.scenario.resumed else "-new"
        return ["openssl", "s_time", "-connect", place, "-www", head, way, "-time", str(whole(self.seconds))]

    def outcome(self):
        """Fails when a single request did."""
        try:
            text, _ = self.process.communicate(timeout=self.seconds * 4 + 30)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.tool} did not end") from None
        if self.process.returncode:
            raise Failed(f"{' '.join(self.command)} failed:\n{text}")
        return {"wrk": self.read_wrk, "h2load": self.read_h2load, "s_time": self.read_s_time}[self.tool](text)

    def read_wrk(self, text):
        # Printed only when there is something to complain about.
        if complaint := re.search(r"(Socket errors|Non-2xx).*", text):
            raise Failed(f"wrk says: {complaint[0]}")
        requests = re.search(r"(\d+) requests in", text)
        # A unit of one letter is followed by a space.
        shares = dict(re.findall(r"^ +(50|99)% +([\d.]+(?:us|ms|s|m)) *$", text, re.M))
        if not requests or int(requests[1]) == 0 or len(shares) != 2:
            raise Failed(f"wrk says:\n{text}")
        return Outcome(int(requests[1]), time_us(shares["50"]), time_us(shares["99"]))

    def read_h2load(self, text):
        failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
        statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if not failed or not statuses or any(map(int, [*failed.groups(), *statuses.groups()[1:]])):
            raise Failed(f"h2load says:\n{text}")
        # Its summary has no percentiles; its log has every request.
        times = sorted(int(line.split("\t")[2]) for line in self.log.read_text().splitlines())
        if not times:
            raise Failed(f"h2load got no answer:\n{text}")
        return Outcome(len(times), times[len(times) // 2], times[len(times) * 99 // 100])

    def read_s_time(self, text):
        done = re.search(r"(\d+) connections in \d+ real seconds, (\d+) bytes read per connection", text)
        if not done or int(done[1]) == 0 or int(done[2]) == 0:
            raise Failed(f"s_time says:\n{text}")
        # A letter for each connection: `*` is a new session, `r` one taken up.
        marks = re.search(r"^[*tr]{2,}", text, re.M)
        other = "*" if self.scenario.resumed else "r"
        if not marks or marks[0].count(other) > 1:
            raise Failed(f"s_time met sessions of the other kind:\n{text[:500]}")
        return Outcome(int(done[1]), None, None)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def whole(seconds):
    """All count in whole seconds; never less than was asked for."""
    return math.ceil(seconds)


def time_us(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]
