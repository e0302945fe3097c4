"""Makes load with wrk or h2load and reads what they say. Never here: what the proxy costs (sample)."""

import math
import re
import subprocess

from .ground import GROUP, SUITE, Failed, find


class Load:
    """One load generator at work; `outcome` waits for its end."""

    def __init__(self, base, scenario, url, seconds):
        self.base, self.scenario, self.seconds = base, scenario, seconds
        self.log = base.folder / "requests.log"
        self.log.unlink(missing_ok=True)
        make = self.wrk if scenario.tool == "wrk" else self.h2load
        self.command = base.on(1, make(url + scenario.path))
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=base.client_env,
        )

    def wrk(self, url):
        command = [find("wrk"), "-t1", f"-c{self.scenario.connections}", f"-d{whole(self.seconds)}s", "--latency"]
        if script := self.script():
            path = self.base.folder / "wrk.lua"
            path.write_text(script)
            command += ["-s", str(path)]
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

    def outcome(self):
        """Requests, p50 and p99 in µs. Fails when a single request did."""
        try:
            text, _ = self.process.communicate(timeout=self.seconds * 4 + 30)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.scenario.tool} did not end") from None
        if self.process.returncode:
            raise Failed(f"{' '.join(self.command)} failed:\n{text}")
        return self.read_wrk(text) if self.scenario.tool == "wrk" else self.read_h2load(text)

    def read_wrk(self, text):
        # Printed only when there is something to complain about.
        if complaint := re.search(r"(Socket errors|Non-2xx).*", text):
            raise Failed(f"wrk says: {complaint[0]}")
        requests = re.search(r"(\d+) requests in", text)
        # A unit of one letter is followed by a space.
        shares = dict(re.findall(r"^ +(50|99)% +([\d.]+(?:us|ms|s|m)) *$", text, re.M))
        if not requests or int(requests[1]) == 0 or len(shares) != 2:
            raise Failed(f"wrk says:\n{text}")
        return int(requests[1]), time_us(shares["50"]), time_us(shares["99"])

    def read_h2load(self, text):
        failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
        statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if not failed or not statuses or any(map(int, [*failed.groups(), *statuses.groups()[1:]])):
            raise Failed(f"h2load says:\n{text}")
        # Its summary has no percentiles; its log has every request.
        times = sorted(int(line.split("\t")[2]) for line in self.log.read_text().splitlines())
        if not times:
            raise Failed(f"h2load got no answer:\n{text}")
        return len(times), times[len(times) // 2], times[len(times) * 99 // 100]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def whole(seconds):
    """Both count in whole seconds; never less than was asked for."""
    return math.ceil(seconds)


def time_us(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]
