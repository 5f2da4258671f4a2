# SPDX-License-Identifier: BSD-2-Clause
"""A long time under traffic, while whoever operates it does all that can be done: nothing is lost, nothing leaks.

    kern: tap0 ◄── xbridge ──► va (dedicated) ◄── veth ──► vp :peer     TCP, UDP and group frames
                     ▲───────► vb (shared)    ◄── veth ──► vp :peer2    group frames

XB_SEED does again what was done in another run, as far as that depends on chance; XB_SOAK_S says for how long.
"""

import collections
import contextlib
import glob
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from statistics import median

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP

from books import Books
from load import Wire
from steer import frame
from traffic import Flows, Task
from xbridge import IN_VM, RUN_DIR, SANITIZED, TAP_IP, binary, drops, interesting, peer_ip, wait_for

SOAK_S = float(os.environ.get("XB_SOAK_S") or (60 if IN_VM else 120 if SANITIZED else 300))
ROUNDS = 2  # at least, however slow all is; one does each thing that can be done, in any order
WARM_UP = 0.2  # of the rounds: until then memory is taken for good
QUEUES = 2     # at the beginning, and at the end
GROWTH_KB = 256  # of private memory after that, at most: an allocator's own ups and downs
BROADCAST, MULTICAST4, MULTICAST6 = "ff:ff:ff:ff:ff:ff", "01:00:5e:01:02:03", "33:33:ff:00:00:01"

# What an operator loads; some of it is for what Chatter sends, none for TCP.
RULES = ["proto udp dport 7 to drop", "proto udp dport 8 to pass", "proto udp dport 9 to kernel limit 1000",
         "in kernel proto udp dport 7 to va limit 500", "ethertype arp to bridge limit 200", "src 198.51.100.0/24 to drop",
         "proto udp dport 10-99 to bridge", "dst 2001:db8:1::/48 to kernel", "dmac 02:00:00:00:00:99 to drop", "vlan 7 to va"]


class Chatter:
    """UDP, ARP, neighbour solicitations and multicast from all three ends, at a steady rate, in the background."""

    def __init__(self, bed):
        self.over = threading.Event()
        tap, one, two = bed.kern.mac("tap0"), *(peer.mac("vp") for peer in bed.peers)
        self.said = [(Wire(ns, ifname, 0), frames) for ns, ifname, frames in [
            (bed.peers[0], "vp", self.frames(one, tap, peer_ip(), TAP_IP)),
            (bed.kern, "tap0", self.frames(tap, one, TAP_IP, peer_ip())),
            (bed.peers[1], "vp", self.frames(two, BROADCAST, peer_ip(1), TAP_IP))]]
        self.task = Task(self.run)

    @staticmethod
    def frames(src, dst, src_ip, dst_ip):
        udp = [frame(IP(src=src_ip, dst=dst_ip) / UDP(dport=port), src=src, dst=dst) for port in (7, 8, 9, 30)]
        tcp = frame(IP(src="198.51.100.7", dst=dst_ip) / TCP(dport=7, flags="S"), src=src, dst=dst)
        arp = frame(ARP(hwsrc=src, psrc=src_ip, pdst=dst_ip), src=src, dst=BROADCAST)
        nd = frame(IPv6(src="fe80::1", dst="ff02::1:ff00:1") / ICMPv6ND_NS(tgt="2001:db8::1"), src=src, dst=MULTICAST6)
        group = [frame(IP(src=src_ip, dst="239.1.2.3") / UDP(dport=30), src=src, dst=MULTICAST4, vlan=vlan)
                 for vlan in (None, 7)]
        return [*udp, tcp, arp, nd, *group, frame(UDP(dport=30), src=src, dst="02:00:00:00:00:99")]

    def run(self):
        while not self.over.is_set():
            for wire, frames in self.said:
                for data in frames:
                    with contextlib.suppress(OSError):  # no room in the interface's queue: it was never sent
                        wire.send(data)
            self.over.wait(0.01)

    def stop(self):
        self.over.set()
        self.task.join()
        for wire, _ in self.said:
            wire.sock.close()


class Operator:
    """Does one thing after the other, in an order left to chance."""

    def __init__(self, bed, chance):
        self.daemon, self.bed, self.chance, self.capture = bed.daemon, bed, chance, None
        self.ways = [self.set_queues, self.load, self.add, self.flush, self.ask, self.mistake, self.watch, self.explain,
                     self.forget, self.hang_up]

    def do_all(self):
        for way in self.chance.sample(self.ways, len(self.ways)):
            way()
            time.sleep(self.chance.uniform(0, 0.1))  # any moment: not to wait for something

    def set_queues(self):
        n = self.chance.randint(1, 4)
        self.daemon.ask("port", "set", "kernel", "--queues", str(n))
        assert self.daemon.port("kernel")["queues"] == n

    def load(self):
        rules = self.chance.sample(RULES, self.chance.randint(0, len(RULES)))
        rules += [f"proto tcp dst 203.0.113.{i} dport {i} to drop" for i in range(self.chance.randint(0, 200))]
        self.daemon.ask("steer", "load", "".join(rule + "\n" for rule in rules))

    def add(self):
        rule = self.daemon.ask("steer", "add", *self.chance.choice(RULES).split())
        self.daemon.ask("steer", "del", str(rule["id"]))

    def flush(self):
        self.daemon.ask("steer", "flush")

    def ask(self):
        for words in ("stats",), ("status",), ("fdb", "list"), ("steer", "list", "-s"):
            self.daemon.ask(*words)

    def mistake(self):
        words = self.chance.choice(["port set nobody --queues 2", "steer add to nowhere", "fdb add zz port va", "frobnicate"])
        assert self.daemon.cli(*words.split(), check=False).returncode

    def watch(self):
        """Begins a capture, or ends it."""
        if self.capture:
            self.end_capture()
            return
        words = self.chance.choice([[], ["tap0"], ["--drops"], ["vb", "--snap", "64"]])
        command = self.bed.in_host(binary(), "capture", *words, "-w", "/dev/null", "--name", self.daemon.name)
        self.capture = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self.bed.env)
        assert "capturing" in self.capture.stderr.readline()

    def end_capture(self):
        if self.capture:
            self.capture.send_signal(self.chance.choice([signal.SIGINT, signal.SIGKILL]))
            self.capture.communicate(timeout=60)
            self.capture = None

    def explain(self):
        self.daemon.cli("explain", "in", "va", *self.chance.choice(["proto udp dport 7", "ethertype arp"]).split())

    def forget(self):
        self.daemon.ask("fdb", "flush")

    def hang_up(self):
        """A client that goes before it has an answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"{RUN_DIR}/{self.daemon.name}.sock")
            sock.sendall(b'{"argv": ["stats"]}\n{"ar'[:self.chance.randrange(1, 24)])


def fields(path):
    with open(path, encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def processes(daemon):
    """The daemon and its doorman."""
    with open(f"/proc/{daemon.pid}/task/{daemon.pid}/children", encoding="ascii") as file:
        return [daemon.pid, *map(int, file.read().split())]


def memory_kb(daemon):
    """Private memory of each process, exactly: what is allocated, and the stacks."""
    memory = []
    for pid in processes(daemon):
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            memory += [int(line.split()[1]) for line in file if line.startswith("Anonymous:")]
    return memory


def start_kernel_port_again(bed):
    """Its queues keep room for the longest burst that they have seen, until it is started again."""
    for mtu in 1400, 1500:
        since = len(bed.daemon.log)
        bed.kern.ip(f"link set tap0 mtu {mtu}")
        bed.daemon.wait_log(f"tap0.*MTU {mtu}", since=since)
    bed.daemon.rest()


def descriptors(pid):
    """How many of which kind."""
    folder = f"/proc/{pid}/fd"
    return collections.Counter(os.readlink(f"{folder}/{fd}").partition(":[")[0] for fd in os.listdir(folder))


def holdings(daemon):
    """What has to be the same at the end as at the beginning."""
    threads = [fields(path)["Name"] for path in glob.glob(f"/proc/{daemon.pid}/task/*/status")]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{RUN_DIR}/{daemon.name}.sock")
        with sock.makefile("rw") as file:
            for _ in range(2):  # once the first is answered, clients from before are forgotten
                file.write('{"argv": ["status"]}\n')
                file.flush()
                arena = json.loads(file.readline())["result"]["arena"]
            open_now = [descriptors(pid) for pid in processes(daemon)]
    return {"descriptors": open_now,
            # the kernel's own, of io_uring and vhost, come and go
            "threads": sorted(name for name in threads if name.startswith("xb")),
            "mappings": mappings(daemon.pid),
            "free frames": arena["free"]}


def mappings(pid):
    """How many there are. A sanitizer takes memory as it likes, but none that has a file."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as lines:
        return sum(not SANITIZED or line.split()[4] != "0" for line in lines)


def check_well(daemon):
    status = daemon.status()
    assert all(port["running"] and port["up"] and not port.get("lost") for port in status["ports"]), json.dumps(status)
    bad = [line for line in daemon.log if line.startswith(("xbridge: error:", "xbridge: warning:"))]
    assert not bad, bad


def go_on_for_long(bed, chance, flows):
    """Returns the memory after each round."""
    daemon, operator, memory = bed.daemon, Operator(bed, chance), []
    began = time.monotonic()
    moved = [list(flow.progress) for flow in flows]
    while time.monotonic() < began + SOAK_S or len(memory) < ROUNDS:
        operator.do_all()
        wait_for(lambda: all(flow.all_moved_since(then) for flow, then in zip(flows, moved)), "all flows go on", 20)
        moved = [list(flow.progress) for flow in flows]
        check_well(daemon)
        memory.append(memory_kb(daemon))
    operator.end_capture()
    daemon.ask("steer", "flush")
    daemon.ask("port", "set", "kernel", "--queues", str(QUEUES))
    return memory


def growth_kb(memory):
    """By how much each process has grown since the warm-up, whatever it took for a moment."""
    settled = memory[int(len(memory) * WARM_UP):]
    third = max(len(settled) // 3, 1)
    return [median(kb[-third:]) - median(kb[:third]) for kb in zip(*settled)]


@pytest.mark.long
def test_a_long_time_under_traffic_and_changes_loses_and_leaks_nothing(make_bed):
    seed = os.environ.get("XB_SEED") or str(random.randrange(1 << 32))
    print(f"XB_SEED={seed}")
    bed = make_bed(uplinks=2, queues=2, quiet=True)
    daemon = bed.start("--queues", str(QUEUES), uplinks=["va,dedicated", "vb,shared"])
    with Wire(bed.peer, "vp") as wire:  # each port has sent and received
        wire.send(frame(ARP(), src=bed.peer.mac("vp"), dst=BROADCAST))
    start_kernel_port_again(bed)
    held = holdings(daemon)
    books = Books(bed)
    flows = [Flows(bed.peer, bed.kern, TAP_IP, 2), Flows(bed.kern, bed.peer, peer_ip(), 2)]
    chatter = Chatter(bed)
    memory = go_on_for_long(bed, random.Random(seed), flows)
    chatter.stop()
    for flow in flows:
        flow.stop()
    change = books.close(resets=True)["xbridge"]
    print(f"{len(memory)} rounds: {memory[0]} to {memory[-1]} kB, {json.dumps(interesting(change))}")
    start_kernel_port_again(bed)
    assert holdings(daemon) == held
    check_well(daemon)
    if not IN_VM and not SANITIZED:  # too few rounds to tell; memory is kept to see who uses it after its end
        assert max(growth_kb(memory)) < GROWTH_KB, memory
    assert all(port["rx_packets"] and port["tx_packets"] for port in change["ports"].values())
    assert change["copies"] and change["ports"]["vb"]["xdp"]["pass_group"] and drops(change, "tap0")
