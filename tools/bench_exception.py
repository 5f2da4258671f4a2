#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Throughput, round-trip time and CPU of the exception path: xbridge, DPDK's testpmd and the kernel's bridge in turn.

    tx=xdp, tx=packet  xbridge, sending through AF_XDP, as testpmd does, or through a packet socket: its own choice here
    io256              testpmd with a ring as DPDK makes it and the io engine
    csum1024           testpmd as DPDK's guide to the exception path advises it, with all offloads
    io1024, csum256    for what lies between (only where --only names them)
    bridge             the kernel alone: a bridge and a veth

All but the bridge read a veth through AF_XDP and reach the kernel through virtio_user on vhost-net (or, natively, through
the TAP alone: there testpmd has net_tap, which can't do what csum1024 is for). With one queue one TCP stream runs, with two four.

All stand there all the time, each in namespaces of its own, and take turns; the others are stopped meanwhile. So a machine whose
speed comes and goes slows all, and a ratio is the median of the turns' own ratios. TCP runs long enough in each turn to show what
it settles at, which need not be the rate of its first seconds: "second half by first" says how far it does. Before the first turn
that counts each has a short one that does not: what runs for the first time is slow, in an emulator above all.

To be run as root; makes its namespaces and removes them.
"""
import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile

from bench_report import report, report_idle
from bench_sides import SIDES
from bench_traffic import idle_cpu, turn, warm_up

WARM_UP_SECONDS = {"vhost-net": 3, "tap": 1}  # each way, before the turns that count
TARGET_MISSED = 3  # exit status
DEFAULT_SIDES = {"vhost-net": ["tx=xdp", "tx=packet", "io256", "csum1024", "bridge"],
                 "tap": ["tx=xdp", "tx=packet", "io256", "bridge"]}


@contextlib.contextmanager
def huge_pages(count):
    path = "/proc/sys/vm/nr_hugepages"
    with open(path, encoding="ascii") as file:
        before = file.read()
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(count))
        yield
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(before)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--wakeup", help="bench_wakeup, built: for round trips")
    parser.add_argument("--dpdk", help="bench_dpdk.so, built: for testpmd")
    parser.add_argument("--backend", choices=("vhost-net", "tap"), required=True)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--queues", type=int, choices=(1, 2), default=1)
    parser.add_argument("--only", type=lambda words: words.split(","), help="these sides alone, with commas")
    parser.add_argument("--what", choices=("all", "throughput", "latency"), default="all")
    parser.add_argument("--figures", metavar="FILE", help="add the turns to those in FILE, and report all")
    parser.add_argument("--per-second", action="store_true", help="print each second's Mbit/s too")
    options = parser.parse_args()
    options.only = options.only or DEFAULT_SIDES[options.backend]
    for name in options.only:
        if name not in SIDES:
            parser.error(f"--only: there is no '{name}', but {', '.join(SIDES)}")
    return options


def add_to_earlier(path, turns):
    """Turns of several runs, all on one machine, are reported as those of one."""
    if os.path.exists(path):
        with open(path, encoding="ascii") as file:
            for name, earlier in json.load(file).items():
                turns[name] = earlier + turns.get(name, [])
    with open(path, "w", encoding="ascii") as file:
        json.dump(turns, file, indent=1)


def take_turns(sides, options):
    for side in sides:
        warm_up(side, min(WARM_UP_SECONDS[options.backend], options.seconds))
    turns = {side.name: [] for side in sides}
    for _ in range(options.turns):
        for side in sides:
            turns[side.name].append(turn(side, options.seconds))
    return turns


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))  # what was made goes
    with contextlib.ExitStack() as stack:
        options.work = stack.enter_context(tempfile.TemporaryDirectory())
        sides = [SIDES[name](options) for name in options.only]
        stack.enter_context(huge_pages(sum(side.huge_pages for side in sides) * options.queues))
        for side in sides:
            stack.enter_context(side)
        turns = take_turns(sides, options)
        if options.figures:
            add_to_earlier(options.figures, turns)
        targets = report(turns, options.backend)
        if options.what != "throughput":
            report_idle({side.name: idle_cpu(side) for side in sides if side.pids()}, targets)
        if not targets.all_met:
            sys.exit(TARGET_MISSED)


if __name__ == "__main__":
    main()
