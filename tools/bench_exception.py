#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Throughput, round-trip time and CPU of the exception path: xbridge and DPDK's testpmd in turn.

    netns peer            netns host (no address on va)                netns host
    10.9.0.2 vb ──── va ──── xbridge, or testpmd io forwarding ──── tap0 10.9.0.1

Both read va through AF_XDP and reach the kernel through virtio_user on vhost-net (or, natively,
through the TAP alone). To be run as root; makes its namespaces and removes them.
"""
import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time

HOST, PEER = "xbbench-host", "xbbench-peer"
HOST_IP, PEER_IP = "10.9.0.1", "10.9.0.2"
TAP = "xbtap0"


def sh(*words, **kw):
    return subprocess.run(words, check=True, text=True, capture_output=True, **kw).stdout


def inside(ns, *words):
    return ["ip", "netns", "exec", ns, *words]


@contextlib.contextmanager
def topology():
    for ns in (HOST, PEER):
        sh("ip", "netns", "add", ns)
    try:
        sh("ip", "link", "add", "va", "netns", HOST, "type", "veth", "peer", "name", "vb", "netns", PEER)
        for ns, dev in ((HOST, "va"), (PEER, "vb")):
            sh(*inside(ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
            sh("ip", "-n", ns, "link", "set", "lo", "up")
            sh("ip", "-n", ns, "link", "set", dev, "up")
        sh("ip", "-n", PEER, "addr", "add", PEER_IP + "/24", "dev", "vb")
        # a checksum that veth leaves open would never be finished by testpmd
        sh(*inside(PEER, "ethtool", "-K", "vb", "tx", "off"))
        yield
    finally:
        for ns in (HOST, PEER):
            subprocess.run(["ip", "netns", "del", ns], check=False)


def wait_for(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: {what}: nothing after {seconds} s")
        time.sleep(0.05)


def tap_is_there():
    return subprocess.run(["ip", "-n", HOST, "link", "show", TAP], capture_output=True,
                          check=False).returncode == 0


def answers():
    return subprocess.run(inside(HOST, "ping", "-c1", "-W1", PEER_IP), capture_output=True,
                          check=False).returncode == 0


class Forwarder:
    """A process between va and the TAP."""

    def __init__(self, options):
        self.options = options
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(inside(HOST, *self.command()), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        env=os.environ | self.environment())
        wait_for(f"{self.name}: {TAP}", tap_is_there)
        sh("ip", "-n", HOST, "addr", "add", HOST_IP + "/24", "dev", TAP)
        sh("ip", "-n", HOST, "link", "set", TAP, "up")
        wait_for(f"{self.name}: ping", answers)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM if self.name == "xbridge" else signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        wait_for("the TAP goes", lambda: not tap_is_there())

    @staticmethod
    def environment():
        return {}

    def pids(self):
        """The process and, on vhost-net, the kernel's workers for it."""
        found = [self.process.pid]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                if comm.read().startswith("vhost-"):
                    found.append(int(pid))
        return found

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Xbridge(Forwarder):
    name = "xbridge"

    def command(self):
        return [self.options.binary, "run", f"--{self.options.backend}", "--ifname", TAP, "--uplink", "va,dedicated"]


class Testpmd(Forwarder):
    name = "testpmd"

    def command(self):
        kernel = {"vhost-net": f"net_virtio_user0,path=/dev/vhost-net,iface={TAP},queues=1,queue_size=256",
                  "tap": f"net_tap0,iface={TAP}"}[self.options.backend]
        return ["dpdk-testpmd", "--no-pci", "--in-memory", "--no-telemetry", "-m", "512", "--single-file-segments",
                "--lcores=9@0,0@0", "--main-lcore=9", "--vdev", "net_af_xdp0,iface=va", "--vdev", kernel,
                "--", "--forward-mode=io", "--auto-start", "--no-mlockall", "--total-num-mbufs=16384", "-i"]


def iperf(seconds, reverse):
    """TCP throughput in Mbit/s: from the kernel to the uplink, or the other way."""
    server = subprocess.Popen(inside(PEER, "iperf3", "-s", "-1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("iperf3", lambda: ":5201" in sh(*inside(PEER, "ss", "-Hltn")))
        text = sh(*inside(HOST, "iperf3", "-J", "-c", PEER_IP, "-t", str(seconds), *(["-R"] if reverse else [])))
    finally:
        server.terminate()
        server.wait()
    return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e6


def round_trip(count, interval):
    """Median round-trip time in ms."""
    text = sh(*inside(HOST, "ping", "-n", "-c", str(count), "-i", str(interval), PEER_IP))
    return statistics.median(float(ms) for ms in re.findall(r"time=([\d.]+) ms", text))


def loaded_round_trip(seconds):
    """Median round-trip time in ms while TCP runs beside it."""
    server = subprocess.Popen(inside(PEER, "iperf3", "-s", "-1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("iperf3", lambda: ":5201" in sh(*inside(PEER, "ss", "-Hltn")))
    client = subprocess.Popen(inside(HOST, "iperf3", "-c", PEER_IP, "-b", "20M", "-t", str(seconds + 1)),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        return round_trip(seconds * 100 - 50, 0.01)
    finally:
        client.wait()
        server.terminate()
        server.wait()


def measure(forwarder, seconds):
    figures = {"wakeup_ms": float(sh(forwarder.options.wakeup, "8", "500"))}
    for name, reverse in (("out", False), ("in", True)):
        before = forwarder.cpu_seconds()
        figures[f"{name}_mbit"] = iperf(seconds, reverse)
        spent = forwarder.cpu_seconds() - before
        figures[f"{name}_cpu"] = spent / (figures[f"{name}_mbit"] * seconds / 1000)
    figures["rtt_busy_ms"] = round_trip(300, 0.01)
    figures["rtt_tcp_ms"] = loaded_round_trip(3)
    figures["rtt_idle_ms"] = round_trip(8, 0.5)
    before = forwarder.cpu_seconds()
    time.sleep(5)
    figures["idle_cpu"] = (forwarder.cpu_seconds() - before) / 5 * 100
    return figures


ROWS = (("out_mbit", "TCP from the kernel to the uplink, Mbit/s"), ("in_mbit", "TCP from the uplink to the kernel, Mbit/s"),
        ("out_cpu", "CPU seconds for each Gbit out"), ("in_cpu", "CPU seconds for each Gbit in"),
        ("rtt_busy_ms", "round trip, ping -i 0.01, ms"), ("rtt_tcp_ms", "round trip beside 20 Mbit/s of TCP, ms"),
        ("rtt_idle_ms", "round trip, ping -i 0.5, ms"), ("wakeup_ms", "waking a thread that sleeps, ms"),
        ("idle_cpu", "CPU when idle, %"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--wakeup", required=True, help="bench_wakeup, built")
    parser.add_argument("--backend", choices=("vhost-net", "tap"), required=True)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    pages = "/proc/sys/vm/nr_hugepages"
    with open(pages, encoding="ascii") as file:
        pages_before = file.read()
    results = {Xbridge: [], Testpmd: []}
    try:
        with open(pages, "w", encoding="ascii") as file:
            file.write("300")
        for _ in range(options.rounds):
            for kind, rounds in results.items():
                with topology(), kind(options) as forwarder:
                    rounds.append(measure(forwarder, options.seconds))
                    print(forwarder.name, {k: round(v, 3) for k, v in rounds[-1].items()}, flush=True)
    finally:
        with open(pages, "w", encoding="ascii") as file:
            file.write(pages_before)

    print(f"\n{'medians of ' + str(options.rounds) + ' rounds':45} {'xbridge':>10} {'testpmd':>10} {'ratio':>7}")
    for key, text in ROWS:
        ours, theirs = (statistics.median(r[key] for r in results[kind]) for kind in (Xbridge, Testpmd))
        print(f"{text:45} {ours:10.3f} {theirs:10.3f} {ours / theirs if theirs else float('inf'):7.2f}")


if __name__ == "__main__":
    main()
