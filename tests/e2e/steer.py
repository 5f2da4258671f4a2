# SPDX-License-Identifier: BSD-2-Clause
"""Frames that rules ask for, and where they arrive.

    kern: tap0 ◄── xbridge ──► va :host (its own stack is what `pass` means)
                     ▲          ▲
                     │          └── veth ──► vp :peer
                     └──► vb, where a bed has another uplink ──► vp :peer2
"""

import collections
import contextlib
import re

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from traffic import Wire, mac_bytes
from xbridge import difference, wait_for

FROM, OTHER = "02:00:00:00:66:01", "02:00:00:00:66:02"
TO = "02:00:00:00:66:99"  # nobody has it
OWN = "02:00:00:00:66:0a"  # stands for the uplink's own MAC
GROUP = "01:00:5e:01:02:03"
PAYLOAD = b"payload of a test" + bytes(20)


def frame(layers, vlan=None, src=FROM, dst=TO):
    """A frame around layers 3 and up, or 4 and up (then in IPv4)."""
    ether = Ether(src=src, dst=dst)
    if vlan is not None:
        ether = ether / Dot1Q(vlan=vlan)
    if isinstance(layers, (UDP, TCP, ICMP, SCTP)):
        layers = IP(src="198.51.100.1", dst="198.51.100.2") / layers
    return bytes(ether / layers / Raw(PAYLOAD))


def tagged(data, *tags):
    """A frame behind tags of any kind, outermost first."""
    return data[:12] + b"".join(kind.to_bytes(2, "big") + tci.to_bytes(2, "big") for kind, tci in tags) + data[12:]


def readdressed(data, mac):
    return mac_bytes(mac) + data[6:]


V6 = {"src": "2001:db8:1::1", "dst": "2001:db8:2::2"}


def frame6(layer, fragment=None, **fields):
    """The same in IPv6. fragment: (offset, whether more follow)."""
    ip = IPv6(**{**V6, **fields})
    return frame((ip / IPv6ExtHdrFragment(offset=fragment[0], m=fragment[1]) if fragment else ip) / layer)


# match: a frame that it matches, and one that it nearly does
CASES = {
    "vlan": ("vlan 7", frame(UDP(), vlan=7), frame(UDP(), vlan=8)),
    "untagged": ("vlan 0", frame(UDP(), vlan=0), frame(UDP())),
    "smac": (f"smac {FROM}", frame(UDP()), frame(UDP(), src=OTHER)),
    "dmac": (f"dmac {TO}", frame(UDP()), frame(UDP(), dst=OTHER)),
    "own": ("dmac own", frame(UDP(), dst=OWN), frame(UDP())),
    "ethertype": ("ethertype arp", frame(ARP()), frame(UDP())),
    "proto": ("proto sctp", frame(SCTP()), frame(UDP())),
    "proto6": ("proto udp", frame6(UDP()), frame6(TCP())),
    "src": ("src 198.51.100.0/31", frame(UDP()), frame(IP(src="198.51.100.2") / UDP())),
    "dst": ("dst 198.51.100.2", frame(UDP()), frame(IP(dst="198.51.100.3") / UDP())),
    "src6": ("src 2001:db8:1::/48", frame6(UDP()), frame6(UDP(), src="2001:db8:2::1", dst="::1")),
    "dst6": ("dst 2001:db8:2::2", frame6(UDP()), frame6(UDP(), dst="2001:db8:2::3")),
    "sport": ("sport 1024-2047", frame(UDP(sport=2047)), frame(UDP(sport=2048))),
    "sport6": ("sport 1024-2047", frame6(UDP(sport=1024)), frame6(UDP(sport=1023))),
    "dport": ("dport 80", frame(TCP(dport=80)), frame(TCP(dport=81))),
    "dport6": ("dport 53", frame6(IPv6ExtHdrDestOpt() / UDP(dport=53)), frame6(UDP(dport=54))),
    "tcp-flags": ("tcp-flags syn/syn,ack", frame(TCP(flags="S")), frame(TCP(flags="SA"))),
    "tcp-flags6": ("tcp-flags syn/syn,ack", frame6(TCP(flags="S")), frame6(TCP(flags="SA"))),
    "icmp-type": ("proto icmp icmp-type 8", frame(ICMP(type=8)), frame(ICMP(type=0))),
    "icmp-type6": ("proto icmpv6 icmp-type 128", frame6(ICMPv6EchoRequest()), frame6(ICMPv6EchoReply())),
    "dscp": ("dscp 46", frame(IP(tos=46 << 2) / UDP()), frame(IP(tos=45 << 2) / UDP())),
    "dscp6": ("dscp 46", frame6(UDP(), tc=46 << 2), frame6(UDP(), tc=45 << 2)),
    "whole": ("frag no", frame(UDP()), frame(IP(flags="MF") / UDP())),
    "whole6": ("frag no", frame6(UDP()), frame6(UDP(), fragment=(0, 1))),
    "first": ("frag first", frame(IP(flags="MF") / UDP()), frame(IP(flags="MF", frag=9) / UDP())),
    "first6": ("frag first", frame6(UDP(), fragment=(0, 1)), frame6(UDP(), fragment=(9, 1))),
    "first, not whole": ("frag first", frame(IP(flags="MF") / UDP()), frame(UDP())),
    "first, not whole6": ("frag first", frame6(UDP(), fragment=(0, 1)), frame6(UDP())),
    "later": ("frag later", frame(IP(frag=9) / Raw(b"x" * 8)), frame(IP(flags="MF") / UDP())),
    "later6": ("frag later", frame6(IPv6ExtHdrFragment(offset=9, nh=17) / Raw(b"x" * 8)), frame6(UDP(), fragment=(0, 1))),
    "ports of a fragment": ("dport 80", frame(TCP(dport=80)), frame(IP(frag=5) / TCP(dport=80))),
    "ports of a fragment6": ("dport 80", frame6(TCP(dport=80)), frame6(TCP(dport=80), fragment=(5, 0))),
    "all": ("in va vlan 7 proto tcp src 198.51.100.0/24 dport 80", frame(TCP(dport=80), vlan=7), frame(UDP(dport=80), vlan=7)),
}

# all that say nothing of a VLAN again, with frames in one
IN_VLAN = {f"{case} in a VLAN": (match, *(tagged(data, (0x8100, 0x6005)) for data in frames))
           for case, (match, *frames) in CASES.items() if "vlan" not in match}


MARK = re.compile(re.escape(PAYLOAD[:17]) + b"(..)(..)", re.DOTALL)


def marked(data, number):
    """The same frame with a number in its payload. Checksums stay as they are: the number and its complement add nothing."""
    return data.replace(PAYLOAD[:21], PAYLOAD[:17] + number.to_bytes(2, "big") + (0xffff - number).to_bytes(2, "big"))


def marks(frames):
    """The numbers of those frames that have one."""
    found = (MARK.search(data) for data in frames)
    return collections.Counter(int.from_bytes(mark[1], "big") for mark in found if mark and mark[1] != mark[2])


class Ends:
    """Where a frame from the peer can arrive: at the kernel port, at the uplink's own stack, behind another uplink."""

    def __init__(self, bed, stack):
        self.bed = bed
        self.sender = stack.enter_context(Wire(bed.peer, "vp"))
        self.wires = {"kernel": stack.enter_context(Wire(bed.kern, "tap0")),
                      "pass": stack.enter_context(Wire(bed.host, "va"))}
        if len(bed.peers) > 1:
            self.wires["vb"] = stack.enter_context(Wire(bed.peers[1], "vp"))

    def check(self, *said):
        """Sends frames, all at once, and asserts that each arrives where it is said to and nowhere else: (frame, names).
        Returns what has changed in the stats."""
        wanted = {name: collections.Counter(i for i, (_, names) in enumerate(said) if name in names) for name in self.wires}
        found = {name: collections.Counter() for name in self.wires}
        for wire in self.wires.values():
            wire.drain()
        before = self.bed.daemon.stats()

        def arrived():
            for name, wire in self.wires.items():
                found[name] += marks(wire.drain())
            return self.have_come(before, len(said)) and all(wanted[name] <= found[name] for name in found)
        self.sender.send(*(marked(self.placed(data), i) for i, (data, _) in enumerate(said)))
        with contextlib.suppress(AssertionError):  # what is missing is told below
            wait_for(arrived, "all arrive")
        after = self.bed.daemon.rest()
        arrived()  # what should not
        assert found == wanted
        return difference(after, before)

    def have_come(self, before, n):
        """Have n frames come, since the stats were so?"""
        va = difference(self.bed.daemon.stats(), before)["ports"]["va"]
        # of what a shared uplink's stack has, a copy comes behind
        copied = va["rx_packets"] + va["rx_missed"] == sum(
            va["xdp"][name] for name in ("redirect", "pass_group", "drop", "limit"))
        return judged(va) == n and copied

    def placed(self, data):
        """A frame to the uplink's own MAC, whatever that is here."""
        return readdressed(data, self.bed.host.mac("va")) if data.startswith(mac_bytes(OWN)) else data

    def arrivals(self, data):
        """Sends a frame; returns where it arrives."""
        for wire in self.wires.values():
            wire.drain()
        before = self.bed.daemon.stats()
        self.sender.send(self.placed(data))
        wait_for(lambda: self.have_come(before, 1), "the frame is judged, and read where it is for us")
        self.bed.daemon.rest()
        # the kernel may find its checksum left to it, so the payload has to do
        return {name for name, wire in self.wires.items() if any(PAYLOAD in got for got in wire.drain())}

    def send(self, data):
        """Sends a frame; returns the verdict that shows on the wire."""
        found = self.arrivals(data)
        assert len(found) < 2
        return found.pop() if found else "drop"


def from_the_kernel(bed, *frames):
    """Sends frames from tap0; returns the numbers of those that arrive at the peer, and what has changed in the stats."""
    daemon = bed.daemon
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        before = daemon.rest()
        tap.send(*(marked(data, i) for i, data in enumerate(frames)))
        wait_for(lambda: difference(daemon.stats(), before)["ports"]["tap0"]["rx_packets"] == len(frames), "all are judged")
        change, found = difference(daemon.rest(), before), collections.Counter()
        wait_for(lambda: found.update(marks(wire.drain())) or found.total() >= change["ports"]["va"]["tx_packets"],
                 "what was sent arrives")
        return sorted(found.elements()), change


def rules(daemon):
    return daemon.ask("steer", "list", "-s")["rules"]


def judged(port):
    """Frames that the XDP program of an uplink has judged, by its stats."""
    return sum(count for name, count in port["xdp"].items() if not name.endswith("_bytes"))
