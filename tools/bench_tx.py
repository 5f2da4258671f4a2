#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The two ways out of an uplink without zero copy, in the cases in which the packet socket could be the worse one.

    kern: tap0 ── UDP or TCP ──► xbridge ── AF_XDP in copy mode, or a packet socket ──► va ── veth ──► vp :peer

What is compared is the CPU time that xbridge takes for each packet that it gets from tap0 (or for each byte of a stream), so
that another load on the machine changes little. Both ways take turns; a ratio is the median of the turns' own ratios, packet
socket by AF_XDP: below 1 the packet socket is the cheaper one. Beside it stand the lowest and the highest ratio, and the
share of what is sent that arrives.

To be run as root, in namespaces of its own (unshare -m -n), with bpffs mounted; --turns N, --packets N.
"""

import argparse
import contextlib
import glob
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "e2e"))

from traffic import tcp_copy, udp_blast, udp_copy  # noqa: E402
from xbridge import Bed, peer_ip  # noqa: E402

MB = 1 << 20


def cpu_ns(daemon):
    """CPU time of all threads of the daemon."""
    total = 0
    for path in glob.glob(f"/proc/{daemon.pid}/task/*/schedstat"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total


def from_tap(bed):
    return bed.daemon.stats()["ports"]["tap0"]["rx_packets"]


def small(bed, options, size, flows):
    """CPU ns for each datagram that xbridge gets, and the share of those sent that arrives."""
    taken, before = from_tap(bed), cpu_ns(bed.daemon)
    arrived = len(udp_blast(bed.daemon, bed.kern, bed.peer, peer_ip(), options.packets, size, flows=flows))
    return (cpu_ns(bed.daemon) - before) / (from_tap(bed) - taken), arrived / options.packets


def sparse(bed, options, size):
    """The same, one datagram at a time: what each costs that comes alone."""
    before = cpu_ns(bed.daemon)
    udp_copy(bed.kern, bed.peer, peer_ip(), options.packets // 10, size, window=1)
    return (cpu_ns(bed.daemon) - before) / (options.packets // 10), 1.0


def bulk(bed, options, amount):
    """CPU ns for each byte of a TCP stream."""
    before = cpu_ns(bed.daemon)
    tcp_copy(bed.kern, bed.peer, peer_ip(), amount, patience=300)
    return (cpu_ns(bed.daemon) - before) / amount, 1.0


CASES = {
    "64-byte datagrams, one queue": ({}, [], lambda bed, options: small(bed, options, 22, 1)),
    "64-byte datagrams, 4 queues, 2 workers": ({"queues": 4}, ["--queues", "4", "--workers", "2"],
                                               lambda bed, options: small(bed, options, 22, 8)),
    "1472-byte datagrams, one queue": ({}, [], lambda bed, options: small(bed, options, 1472, 1)),
    "datagrams of 64 bytes, one at a time": ({}, [], lambda bed, options: sparse(bed, options, 22)),
    "1000-byte datagrams, a full qdisc (tbf)": ({}, [], lambda bed, options: small(bed, options, 1000, 1)),
    "TCP, one stream": ({}, [], lambda bed, options: bulk(bed, options, 100 * MB)),
}
WAYS = ("xdp", "packet")


def slow_down(bed):
    """A queueing discipline that is full most of the time; False where the kernel has none."""
    done = bed.host.run("tc", "qdisc", "add", "dev", "va", "root", "handle", "1:", "tbf", "rate", "20mbit", "burst", "10kb",
                        "limit", "15kb", check=False)
    return done.returncode == 0


def measure(name, options):
    how, words, run = CASES[name]
    beds = {}
    try:
        for way in WAYS:
            beds[way] = Bed(quiet=True, **how)
            beds[way].start(*words, uplinks=[f"va,dedicated,tx={way}"])
            if "qdisc" in name and not slow_down(beds[way]):
                print(f"{name:45} this kernel has no tbf")
                return
        turns = {way: [] for way in WAYS}
        for turn in range(options.turns + 1):
            for way in WAYS if turn % 2 else reversed(WAYS):
                result = run(beds[way], options)
                if turn:  # the first warms up
                    turns[way].append(result)
        ratios = [packet[0] / xdp[0] for packet, xdp in zip(turns["packet"], turns["xdp"])]
        share = {way: statistics.median(arrived for _, arrived in turns[way]) for way in WAYS}
        cost = {way: statistics.median(each for each, _ in turns[way]) for way in WAYS}
        print(f"{name:45} {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
              f"   {cost['packet']:.4g} / {cost['xdp']:.4g} ns   arrived {share['packet']:.0%} / {share['xdp']:.0%}", flush=True)
    finally:
        for bed in beds.values():
            with contextlib.suppress(AssertionError):  # a slow end is no matter here
                bed.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--packets", type=int, default=20000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"{'case':45} packet socket / AF_XDP, CPU of xbridge")
    for name in CASES:
        if options.only in name:
            measure(name, options)


main()
