# SPDX-License-Identifier: BSD-2-Clause
"""Frames that rules ask for, and where they arrive.

    kern: tap0 ◄── xbridge ──► va :host (its own stack is what `pass` means)
                                ▲
                                └── veth ──► vp :peer
"""

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from traffic import Wire
from xbridge import wait_for

FROM, OTHER = "02:00:00:00:66:01", "02:00:00:00:66:02"
TO = "02:00:00:00:66:99"  # nobody has it
PAYLOAD = b"payload of a test" + bytes(20)


def frame(layers, vlan=None, src=FROM, dst=TO):
    """A frame around layers 3 and up, or 4 and up (then in IPv4)."""
    ether = Ether(src=src, dst=dst)
    if vlan is not None:
        ether = ether / Dot1Q(vlan=vlan)
    if isinstance(layers, (UDP, TCP, ICMP, SCTP)):
        layers = IP(src="198.51.100.1", dst="198.51.100.2") / layers
    return bytes(ether / layers / Raw(PAYLOAD))


V6 = {"src": "2001:db8:1::1", "dst": "2001:db8:2::2"}

# match: a frame that it matches, and one that it nearly does
CASES = {
    "vlan": ("vlan 7", frame(UDP(), vlan=7), frame(UDP(), vlan=8)),
    "untagged": ("vlan 0", frame(UDP(), vlan=0), frame(UDP())),
    "smac": (f"smac {FROM}", frame(UDP()), frame(UDP(), src=OTHER)),
    "dmac": (f"dmac {TO}", frame(UDP()), frame(UDP(), dst=OTHER)),
    "ethertype": ("ethertype arp", frame(ARP()), frame(UDP())),
    "proto": ("proto sctp", frame(SCTP()), frame(UDP())),
    "proto6": ("proto udp", frame(IPv6(**V6) / UDP()), frame(IPv6(**V6) / TCP())),
    "src": ("src 198.51.100.0/31", frame(UDP()), frame(IP(src="198.51.100.2") / UDP())),
    "dst": ("dst 198.51.100.2", frame(UDP(), vlan=3), frame(IP(dst="198.51.100.3") / UDP(), vlan=3)),
    "src6": ("src 2001:db8:1::/48", frame(IPv6(**V6) / UDP()), frame(IPv6(src="2001:db8:2::1", dst="::1") / UDP())),
    "dst6": ("dst 2001:db8:2::2", frame(IPv6(**V6) / UDP()), frame(IPv6(src="2001:db8:1::1", dst="2001:db8:2::3") / UDP())),
    "sport": ("sport 1024-2047", frame(UDP(sport=2047)), frame(UDP(sport=2048))),
    "dport": ("dport 80", frame(TCP(dport=80)), frame(TCP(dport=81))),
    "dport6": ("dport 53", frame(IPv6(**V6) / IPv6ExtHdrDestOpt() / UDP(dport=53)), frame(IPv6(**V6) / UDP(dport=54))),
    "tcp-flags": ("tcp-flags syn/syn,ack", frame(TCP(flags="S")), frame(TCP(flags="SA"))),
    "icmp-type": ("proto icmp icmp-type 8", frame(ICMP(type=8)), frame(ICMP(type=0))),
    "icmp-type6": ("proto icmpv6 icmp-type 128", frame(IPv6(**V6) / ICMPv6EchoRequest()),
                   frame(IPv6(**V6) / ICMPv6EchoReply())),
    "dscp": ("dscp 46", frame(IP(tos=46 << 2) / UDP()), frame(IP(tos=45 << 2) / UDP())),
    "whole": ("frag no", frame(UDP()), frame(IP(flags="MF") / UDP())),
    "first": ("frag first", frame(IP(flags="MF") / UDP()), frame(IP(flags="MF", frag=9) / UDP())),
    "later": ("frag later", frame(IP(frag=9) / Raw(b"x" * 8)), frame(IP(flags="MF") / UDP())),
    "later6": ("frag later", frame(IPv6(**V6) / IPv6ExtHdrFragment(offset=9, nh=17) / Raw(b"x" * 8)),
               frame(IPv6(**V6) / IPv6ExtHdrFragment(offset=0, m=1) / UDP())),
    "ports of a fragment": ("dport 80", frame(TCP(dport=80)), frame(IP(frag=5) / TCP(dport=80))),
    "all": ("in va vlan 7 proto tcp src 198.51.100.0/24 dport 80", frame(TCP(dport=80), vlan=7), frame(UDP(dport=80), vlan=7)),
}


class Ends:
    """Where a frame from the peer can arrive: at the kernel port, or at the uplink's own stack."""

    def __init__(self, bed, stack):
        self.bed = bed
        self.sender = stack.enter_context(Wire(bed.peer, "vp"))
        self.wires = {"kernel": stack.enter_context(Wire(bed.kern, "tap0")),
                      "pass": stack.enter_context(Wire(bed.host, "va"))}

    def arrivals(self, data):
        """Sends a frame; returns where it arrives."""
        for wire in self.wires.values():
            wire.drain()
        before = self.seen()
        self.sender.send(data)
        wait_for(lambda: self.seen() == before + 1, "the program sees the frame")
        self.bed.daemon.rest()
        # the kernel may find its checksum left to it, so the payload has to do
        return {name for name, wire in self.wires.items() if any(PAYLOAD in got for got in wire.drain())}

    def send(self, data):
        """Sends a frame; returns the verdict that shows on the wire."""
        found = self.arrivals(data)
        assert len(found) < 2
        return found.pop() if found else "drop"

    def seen(self):
        """Frames that the XDP program has judged."""
        xdp = self.bed.daemon.stats()["ports"]["va"]["xdp"]
        return sum(count for name, count in xdp.items() if not name.endswith("_bytes"))
