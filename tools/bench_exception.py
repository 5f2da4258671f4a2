#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Throughput, round-trip time and CPU of the exception path: xbridge and DPDK's testpmd in turn.

    netns peer            netns host (no address on va)                netns host
    10.9.0.2 vb ──── va ──── xbridge, or testpmd io forwarding ──── tap0 10.9.0.1

Both read va through AF_XDP and reach the kernel through virtio_user on vhost-net (or, natively,
through the TAP alone). xbridge runs twice: sending through AF_XDP (tx=xdp), as testpmd does, and with tx=packet,
which is what it chooses by itself without zero copy.
All run all the time, each in namespaces of its own, and take turns; the others are stopped meanwhile.
So a machine whose speed comes and goes slows all, and a ratio is the median of the turns' own ratios.
TCP runs long enough in each turn to show what it settles at, which need not be the rate of its first
seconds: testpmd's has been seen to fall to a quarter in the second ten. Before the first turn that
counts each has a short one that does not: what runs for the first time is slow, in an emulator above all.

To be run as root; makes its namespaces and removes them.
"""
import argparse
import contextlib
import json
import operator
import os
import re
import signal
import statistics
import subprocess
import sys
import time

HOST_IP, PEER_IP = "10.9.0.1", "10.9.0.2"
TAP = "xbtap0"
WARM_UP_SECONDS = 3  # each way, before the turns that count
HUGE_PAGES = 420  # of 2 MiB: testpmd's 512 MiB, the rest for xbridge twice


def sh(*words, **kw):
    return subprocess.run(words, check=True, text=True, capture_output=True, **kw).stdout


def inside(ns, *words):
    return ["ip", "netns", "exec", ns, *words]


def wait_for(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: {what}: nothing after {seconds} s")
        time.sleep(0.05)


class Forwarder:
    """A process between va and the TAP, and the two namespaces around it."""
    name: str
    stop_signal: signal.Signals
    environment: dict[str, str] = {}

    def __init__(self, options):
        self.options = options
        token = self.name.replace("=", "-")
        self.host, self.peer = f"xbbench-{token}-host", f"xbbench-{token}-peer"
        self.process = None
        self.turns = []

    def command(self):
        raise NotImplementedError

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            undo.callback(self.remove_namespaces)
            self.make_namespaces()
            undo.callback(self.end_process)
            self.start_process()
            self.pause()
            undo.pop_all()
        return self

    def __exit__(self, *_):
        self.end_process()
        self.remove_namespaces()

    def make_namespaces(self):
        for ns in (self.host, self.peer):
            sh("ip", "netns", "add", ns)
            sh(*inside(ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        sh("ip", "link", "add", "va", "netns", self.host, "type", "veth", "peer", "name", "vb", "netns", self.peer)
        sh("ip", "-n", self.host, "link", "set", "va", "up")
        sh("ip", "-n", self.peer, "link", "set", "vb", "up")
        sh("ip", "-n", self.peer, "addr", "add", PEER_IP + "/24", "dev", "vb")
        # a checksum that veth leaves open would never be finished by testpmd
        sh(*inside(self.peer, "ethtool", "-K", "vb", "tx", "off"))

    def remove_namespaces(self):
        for ns in (self.host, self.peer):
            subprocess.run(["ip", "netns", "del", ns], check=False, stderr=subprocess.DEVNULL)

    def start_process(self):
        self.process = subprocess.Popen(inside(self.host, *self.command()), stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                                        env=os.environ | self.environment)
        wait_for(f"{self.name}: {TAP}", self.tap_is_there)
        sh("ip", "-n", self.host, "addr", "add", HOST_IP + "/24", "dev", TAP)
        sh("ip", "-n", self.host, "link", "set", TAP, "up")
        wait_for(f"{self.name}: ping", self.answers)

    def end_process(self):
        if not self.process:
            return
        self.process.send_signal(self.stop_signal)
        self.resume()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        wait_for("the TAP goes", lambda: not self.tap_is_there())

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def tap_is_there(self):
        return subprocess.run(["ip", "-n", self.host, "link", "show", TAP], capture_output=True,
                              check=False).returncode == 0

    def answers(self):
        return subprocess.run(inside(self.host, "ping", "-c1", "-W1", PEER_IP), capture_output=True,
                              check=False).returncode == 0

    def pids(self):
        """The process and, on vhost-net, the kernel's workers for it, which are named after it."""
        found = [self.process.pid]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                if comm.read().strip() == f"vhost-{self.process.pid}":
                    found.append(int(pid))
        return found

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    # ---- what is measured ----

    @contextlib.contextmanager
    def server(self):
        process = subprocess.Popen(inside(self.peer, "iperf3", "-s", "-1"), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            wait_for("iperf3", lambda: ":5201" in sh(*inside(self.peer, "ss", "-Hltn")))
            yield
        finally:
            process.terminate()
            process.wait()

    def client(self, *words):
        return inside(self.host, "iperf3", "-J", "-c", PEER_IP, *words)

    def throughput(self, seconds, *words):
        """TCP throughput in Mbit/s, without the first second's slow start, and CPU seconds for each Gbit."""
        before = self.cpu_seconds()
        with self.server():
            text = sh(*self.client("-t", str(seconds), "-O", "1", *words))
        result = json.loads(text)
        gbits = sum(interval["sum"]["bytes"] for interval in result["intervals"]) * 8 / 1e9
        return result["end"]["sum_received"]["bits_per_second"] / 1e6, (self.cpu_seconds() - before) / gbits

    def round_trip(self, count, interval):
        """Median round-trip time in ms."""
        text = sh(*inside(self.host, "ping", "-n", "-c", str(count), "-i", str(interval), PEER_IP))
        return statistics.median(float(ms) for ms in re.findall(r"time=([\d.]+) ms", text))

    def loaded_round_trip(self):
        """Median round-trip time in ms while TCP runs beside it."""
        with self.server(), subprocess.Popen(self.client("-b", "20M", "-t", "2"), stdout=subprocess.DEVNULL) as client:
            time.sleep(0.5)
            try:
                return self.round_trip(100, 0.01)
            finally:
                client.wait()

    def turn(self, seconds):
        self.resume()
        time.sleep(0.2)
        figures = {}
        if not self.options.latency_only:
            figures["out_mbit"], figures["out_cpu"] = self.throughput(seconds)
            figures["in_mbit"], figures["in_cpu"] = self.throughput(seconds, "-R")
        figures["rtt_tcp_ms"] = self.loaded_round_trip()
        figures["rtt_busy_ms"] = self.round_trip(100, 0.01)
        figures["rtt_idle_ms"] = self.round_trip(10, 0.4)
        figures["wakeup_ms"] = float(sh(self.options.wakeup, "12", "400"))
        self.pause()
        print(f"{self.name:9}", " ".join(f"{key} {value:.2f}" for key, value in figures.items()), flush=True)
        return figures

    def idle_cpu(self, seconds=30):
        """CPU in per cent of one, without traffic."""
        self.resume()
        time.sleep(0.5)
        before = self.cpu_seconds()
        time.sleep(seconds)
        spent = self.cpu_seconds() - before
        self.pause()
        return spent / seconds * 100


class Xbridge(Forwarder):
    name = "xbridge"
    stop_signal = signal.SIGTERM
    uplink = "va,dedicated,tx=xdp"

    def command(self):
        return [self.options.binary, "run", "--name", f"bench-{self.name.replace('=', '-')}", f"--{self.options.backend}", "--ifname", TAP,
                "--uplink", self.uplink]


class XbridgePacket(Xbridge):
    name = "tx=packet"
    uplink = "va,dedicated,tx=packet"


class Testpmd(Forwarder):
    name = "testpmd"
    stop_signal = signal.SIGINT

    def command(self):
        kernel = {"vhost-net": f"net_virtio_user0,path=/dev/vhost-net,iface={TAP},queues=1,queue_size=256",
                  "tap": f"net_tap0,iface={TAP}"}[self.options.backend]
        return ["dpdk-testpmd", "--no-pci", "--in-memory", "--no-telemetry", "-m", "512", "--single-file-segments",
                "--lcores=9@0,0@0", "--main-lcore=9", "--vdev", "net_af_xdp0,iface=va", "--vdev", kernel,
                "--", "--forward-mode=io", "--auto-start", "--no-mlockall", "--total-num-mbufs=16384", "-i"]


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


ROWS = (("out_mbit", "TCP from the kernel to the uplink, Mbit/s"),
        ("in_mbit", "TCP from the uplink to the kernel, Mbit/s"),
        ("out_cpu", "CPU seconds for each Gbit out"),
        ("in_cpu", "CPU seconds for each Gbit in"),
        ("rtt_tcp_ms", "round trip beside 20 Mbit/s of TCP, ms"),
        ("rtt_busy_ms", "round trip, ping -i 0.01, ms"),
        ("rtt_idle_ms", "round trip, ping -i 0.4, ms"),
        ("wakeup_ms", "waking a thread that sleeps, ms"))


# What xbridge's ratio to testpmd should be, sending through AF_XDP; rows that have none are for scale. What is
# allowed for the idle round trip is the sum of two figures that each scatter by a third: a tenth is left for that.
LEAST, MOST = (">=", operator.ge), ("<=", operator.le)
TARGETS = {"vhost-net": {"out_mbit": (LEAST, 1.3), "in_mbit": (LEAST, 1.1), "rtt_busy_ms": (MOST, 1.3),
                         "allowed": (MOST, 1.1)},
           "tap": {"out_mbit": (LEAST, 1.5), "in_mbit": (LEAST, 1.5)}}
IDLE_CPU_MAX = 1.0  # per cent
TARGET_MISSED = 3  # exit status


class Targets:
    """Says of a figure whether its target is met, and remembers whether all are."""

    def __init__(self, backend):
        self.of_row, self.all_met = TARGETS[backend], True

    def judge(self, figure, relation, target):
        sign, holds = relation
        met = holds(figure, target)
        self.all_met = self.all_met and met
        return f"  target {sign} {target:g}: {'met' if met else 'MISSED'}"

    def of_ratio(self, key, ratio):
        return self.judge(ratio, *self.of_row[key]) if key in self.of_row else ""


def ratios(of, to):
    """The median of the ratios of two sides' turns, and the quartiles."""
    found = [x / y for x, y in zip(of, to)]
    low, middle, high = statistics.quantiles(found, n=4) if len(found) > 1 else found * 3
    return middle, f"  {middle:5.2f} ({low:.2f} … {high:.2f})"


def report(sides, backend):
    """
    A row a figure: the medians of all, each one's ratio to the last one, with the ratios' quartiles, and what the
    first one's ratio should be. Whoever sleeps is woken once more than one that polls: what is allowed for that is a
    row of its own. Returns whether all targets are met.
    """
    own, peer, targets = sides[0], sides[-1], Targets(backend)

    def row(key, text, shown, pairs):
        found = [ratios(of, to) for of, to in pairs]
        print(f"{text:41} {shown}" + "".join(words for _, words in found) + targets.of_ratio(key, found[0][0]))

    print(f"\n{f'medians of {len(peer.turns)} turns':41}", *(f"{side.name:>9}" for side in sides),
          *(f"   {side.name}/{peer.name}" for side in sides[:-1]), f"   targets are for {own.name}/{peer.name}")
    for key, text in ROWS:
        if key not in peer.turns[0]:
            continue
        figures = [[turn[key] for turn in side.turns] for side in sides]
        row(key, text, " ".join(f"{statistics.median(of):9.3f}" for of in figures),
            [(of, figures[-1]) for of in figures[:-1]])
    allowed = [[theirs["rtt_idle_ms"] + ours["wakeup_ms"] for theirs, ours in zip(peer.turns, side.turns)]
               for side in sides[:-1]]
    row("allowed", f"{peer.name}, ping -i 0.4, and one waking, ms",
        " ".join(f"{statistics.median(of):9.3f}" for of in allowed) + " " * 10,
        [([turn["rtt_idle_ms"] for turn in side.turns], of) for side, of in zip(sides, allowed)])
    idle = [side.idle_cpu() for side in sides]
    print(f"{'CPU when idle, %':41}", *(f"{cpu:9.2f}" for cpu in idle),
          f" {own.name}:" + targets.judge(idle[0], ("<", operator.lt), IDLE_CPU_MAX))
    return targets.all_met


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--wakeup", required=True, help="bench_wakeup, built")
    parser.add_argument("--backend", choices=("vhost-net", "tap"), required=True)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--latency-only", action="store_true", help="round trips, no throughput")
    options = parser.parse_args()

    with contextlib.ExitStack() as stack:
        stack.enter_context(huge_pages(HUGE_PAGES))
        sides = [stack.enter_context(kind(options)) for kind in (Xbridge, XbridgePacket, Testpmd)]
        for side in sides:
            side.turn(WARM_UP_SECONDS)
        for _ in range(options.turns):
            for side in sides:
                side.turns.append(side.turn(options.seconds))
        if not report(sides, options.backend):
            sys.exit(TARGET_MISSED)


if __name__ == "__main__":
    main()
