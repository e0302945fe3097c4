"""A run: rounds in which every peer has its turn at every scenario; what failed does not end it.

Never here: how one measure goes (measure and its kin), or what is printed of them (report).
"""

import sys
from dataclasses import replace

from . import costs, exclusive, idle, measure, record, registry, report, start
from .check import check, check_feature, no_sessions
from .differences import derived
from .ground import Failed
from .peers.peer import php_fpm

# How a scenario is measured; all that are not named here are load.
WAYS = {"idle": idle.measure, "exclusive": exclusive.measure, "start": start.measure, "registry": registry.measure}


class Run:
    def __init__(self, words, base, everyone):
        self.words, self.base = words, base
        self.measures, self.costs, self.failures, self.skipped = [], [], [], []
        self.scenarios = [scenario for scenario in words.measured if self.can_be_had(scenario)]
        self.peers = [peer for peer in everyone if self.can_take_part(peer)]

    def run(self):
        try:
            self.check_load()
            self.peers = [peer for peer in self.peers if self.does_the_work(peer)]
            for number in range(self.words.rounds):
                self.round(number)
        except KeyboardInterrupt:
            print("stopped: what there is so far", file=sys.stderr)
        return self.tell()

    def can_be_had(self, scenario):
        there = scenario.shape.feature != "php" or php_fpm()
        if not there:
            self.skipped.append(f"{scenario.name}: php-fpm is not installed")
        return there

    def can_take_part(self, peer):
        if not any(peer.name in scenario.peers for scenario in self.scenarios):
            return False
        why = peer.missing()
        if why and (peer.expected or peer.name in self.words.asked_for):
            self.skipped.append(f"{peer.name}: {why}")
        return not why

    def check_load(self):
        """That new connections are new ones."""
        if any(scenario.connects for scenario in self.scenarios):
            self.attempt("h2load, sessions", lambda: no_sessions(self.base))

    def does_the_work(self, peer):
        """Checks every way the scenarios will ask this peer."""
        loaded = [scenario for scenario in self.scenarios if peer.name in scenario.peers and scenario.loaded]
        asked = [scenario for scenario in loaded if not scenario.shape.feature]
        proxied = any(not scenario.by_proxy for scenario in asked)
        # One shape with TLS and one without stand for all. The batch worker takes no uploads, so its rows are checked
        # with the other worker.
        shapes = {scenario.shape.tls: replace(scenario.shape, batch=False) for scenario in reversed(asked)}
        works = all(
            self.attempt(
                f"{peer.name}, check {'with' if shape.tls else 'without'} TLS",
                lambda shape=shape: self.check(peer, shape, proxied),
            )
            for shape in shapes.values()
        )
        return works and all(
            self.attempt(
                f"{peer.name}, check of {scenario.name}",
                lambda scenario=scenario: self.check_feature(peer, scenario),
            )
            for scenario in loaded
            if scenario.shape.feature
        )

    def check_feature(self, peer, scenario):
        with peer.serving(scenario.shape) as serving:
            check_feature(serving, self.base, scenario)

    def check(self, peer, shape, proxied):
        with peer.serving(shape) as serving:
            check(serving, self.base, proxied, peer.answers_itself)

    def round(self, number):
        # Another one begins in each round, so that none always follows the same one.
        turn = number % max(1, len(self.peers))
        for group in groups([scenario for scenario in self.scenarios if number < scenario.rounds]):
            for peer in self.peers[turn:] + self.peers[:turn]:
                # Of two that are subtracted each is the first one in every other round.
                for scenario in group if number % 2 == 0 else reversed(group):
                    if peer.name in scenario.peers:
                        self.attempt(
                            f"{peer.name}, {scenario.name}, round {number + 1}",
                            lambda scenario=scenario: self.one(peer, scenario, number),
                        )

    def one(self, peer, scenario, number):
        if self.words.costs:
            self.costs.append(costs.costs(self.base, peer, scenario, self.words.seconds))
            return
        way = WAYS.get(scenario.way, measure.measure)
        for _ in range(1 if self.words.smoke else scenario.times):
            one = way(self.base, peer, scenario, number, self.words.seconds)
            self.measures.append(one)
            if sys.stderr.isatty() or not self.words.smoke:
                text = f"{scenario.name:5} {peer.name:10} {one.value:9.2f} {scenario.unit}"
                print(f"round {number + 1}: {text}", file=sys.stderr)

    def attempt(self, what, action):
        try:
            action()
            return True
        except Failed as failed:
            self.failures.append(f"{what}: {failed}")
            print(f"FAILED {what}: {failed}", file=sys.stderr)
            return False

    def tell(self):
        self.measures += derived(self.measures, self.words.only)
        if self.measures:
            print(report.table(self.measures, self.words.only, [peer.name for peer in self.peers]))
        if self.costs:
            print(costs.table(self.costs))
        kept = record.keep(self.measures, self.costs, self.failures, sys.argv[1:], self.words.seconds)
        print(f"\nin {kept}")
        for text in self.failures:
            print(f"FAILED {text}")
        for text in self.skipped:
            print(f"SKIPPED {text}")
        done = len({(one.scenario, one.peer) for one in self.measures}) + len(self.costs)
        print(f"{done} passed, {len(self.failures)} failed, {len(self.skipped)} skipped")
        return 1 if self.failures or not done else 0


def groups(scenarios):
    """Those that belong together, in order."""
    found = {}
    for scenario in scenarios:
        found.setdefault(scenario.group or scenario.name, []).append(scenario)
    return list(found.values())
