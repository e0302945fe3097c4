"""The words of the command line, with which scenarios and peers they choose. Never here: what is done with them."""

import argparse
from pathlib import Path

from . import peers
from .scenarios import GROWTH, SCENARIOS, Difference, select, small


def read_words(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="A,B", help=f"scenarios, of {', '.join(one.name for one in SCENARIOS)}")
    parser.add_argument("--peers", metavar="A,B", help=f"of {','.join(peers.NAMES)}; default: all that are there")
    parser.add_argument("--rounds", type=above_zero, default=5, metavar="N", help="repetitions, peers in turn (5)")
    parser.add_argument("--seconds", type=above_zero, default=3, metavar="N", help="window of one measure (3)")
    parser.add_argument("--cpus", type=two_cpus, metavar="P,L", help="the proxy's core and everybody else's")
    parser.add_argument("--binary", type=Path, metavar="FILE", help="a rip-server to measure; default: built here")
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier build, measured in the same run")
    parser.add_argument("--growth", action="store_true", help="how cost grows with connections, workers and sizes")
    parser.add_argument("--costs", action="store_true", help="system calls and switches per request, of a and e")
    parser.add_argument("--hold", action="store_true", help="load on one scenario until interrupted, for a profiler")
    parser.add_argument("--smoke", action="store_true", help="a moment each: proves that the bench works")
    words = parser.parse_args()
    if words.growth and words.costs:
        parser.error("--growth or --costs: one at a time")
    words.before = words.before and words.before.resolve()
    if words.before and not words.before.is_file():
        parser.error(f"--before: {words.before} is no file")
    choose_scenarios(words, parser)
    choose_peers(words, parser)
    words.measured = [scenario for scenario in words.only if not isinstance(scenario, Difference)]
    if words.hold and (len(words.only), len(words.peers)) != (1, 1):
        parser.error("--hold takes one scenario and one peer: --hold --only a --peers rip-server")
    if words.hold and not words.only[0].loaded:
        parser.error("--hold takes a scenario under load, such as a")
    if words.costs and not all(scenario.loaded and not scenario.by_proxy for scenario in words.measured):
        parser.error("--costs takes scenarios under load that a worker answers, such as a,e")
    if words.smoke:
        words.rounds, words.seconds = 1, 0.3
        words.measured = [small(scenario) for scenario in words.measured]
    return words


def choose_scenarios(words, parser):
    table = GROWTH if words.growth else SCENARIOS
    names = [scenario.name for scenario in table]
    wanted = words.only.split(",") if words.only else ["a", "e"] if words.costs else names
    if unknown := set(wanted) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    words.only = select(wanted, table)


def choose_peers(words, parser):
    words.asked_for = words.peers.split(",") if words.peers else []
    words.peers = words.asked_for or (peers.SHORT if words.smoke else peers.NAMES)
    if unknown := set(words.peers) - set(peers.NAMES):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(peers.NAMES)}")


def above_zero(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def two_cpus(text):
    try:
        proxy, load = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers, such as 0,1") from None
    return proxy, load
