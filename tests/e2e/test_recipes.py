# SPDX-License-Identifier: BSD-2-Clause
"""Each recipe of docs/recipes.md does what it says: typed as it stands, then tried from the peer and from the kernel.

    kern: tap0 ◄── xbridge ──► eth0 :host      eth0 ── veth ──► vp :peer      eth1 ──► vp :peer2
"""

import contextlib
import socket

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6

from documents import Shell, blocks
from steer import FROM, TO, frame
from traffic import Task, Wire, ether
from xbridge import PATIENCE, TAP_IP, TAP_IP6, peer_ip, peer_ip6, wait_for

PAGE = "docs/recipes.md"
BGP, SSH, HTTP, BFD = 179, 22, 80, 3784
NOT_WANTED = 4444
HOST_IP, HOST_IP6 = "192.0.2.100", "2001:db8::100"


class Tried:
    """A recipe that was typed, and the two who talk."""

    def __init__(self, bed, daemon):
        self.bed, self.daemon = bed, daemon
        self.kernel, self.peer = (bed.kern, (TAP_IP, TAP_IP6)), (bed.peer, (peer_ip(), peer_ip6()))

    def ways(self):
        """From whom, to whom, and the address there; both ways, in IPv4 and IPv6."""
        for (source, _), (target, addresses) in (self.peer, self.kernel), (self.kernel, self.peer):
            for address in addresses:
                yield source, target, address

    def ping(self):
        for source, _, address in self.ways():
            for ns, ifname in (self.bed.kern, "tap0"), (self.bed.peer, "vp"):
                ns.ip(f"neigh flush dev {ifname}")
            source.run("ping", "-n", "-c", "2", "-i", "0.1", "-W", "5", address)

    def tcp(self, port):
        for way in self.ways():
            talk(*way, port)

    def udp(self, port):
        for source, target, address in self.ways():
            with receiver(target, address, port) as sock:
                send_udp(source, address, port)
                assert sock.recv(100) == b"datagram"

    def silent(self, source, target, address, port):
        """No datagram and no connection gets there; what proves it is that one to another port, sent after it, does."""
        with receiver(target, address, port) as shut, receiver(target, address, 40000) as reached:
            send_udp(source, address, port)
            send_udp(source, address, 40000)
            assert reached.recv(100) == b"datagram"
            shut.settimeout(0)
            with pytest.raises(BlockingIOError):
                shut.recv(100)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def receiver(ns, address, port):
    with ns:
        sock = socket.socket(family(address), socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(10 * PATIENCE)
        sock.bind((address, port))
        yield sock


def send_udp(ns, address, port):
    with ns, socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        sock.sendto(b"datagram", (address, port))


def talk(source, target, address, port):
    """A question and its answer over TCP."""
    with target:
        listener = socket.create_server((address, port), family=family(address))

    def serve():
        listener.settimeout(20 * PATIENCE)
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(20 * PATIENCE)
            sock.sendall(sock.recv(100).upper())
    with listener:
        server = Task(serve)
        with source:
            client = socket.socket(family(address))
        with client:
            client.settimeout(20 * PATIENCE)
            client.connect((address, port))
            client.sendall(b"question")
            assert client.recv(100) == b"QUESTION"
        server.join()


def refused(source, target, address, port):
    """A SYN gets no answer: neither a connection nor a reset."""
    with target:
        listener = socket.create_server((address, port), family=family(address))
    with listener, source, socket.socket(family(address)) as client:
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.connect((address, port))


# ---- what each recipe promises ----

def bgp_and_bfd(tried):
    tried.ping()
    tried.tcp(BGP)
    tried.udp(BFD)


def punt_storm(tried):
    bed, daemon = tried.bed, tried.daemon
    tried.ping()
    tried.tcp(BGP)
    with Wire(bed.peer, "vp") as wire:
        for _ in range(20):
            wire.send(*[frame(UDP(dport=9), dst=bed.kern.mac("tap0"))] * 500)
        wait_for(lambda: daemon.stats()["ports"]["eth0"]["drops"]["limit"], "the storm is limited")
        tried.tcp(BGP)
        tried.ping()


def drop_all_but(tried):
    bed = tried.bed
    tried.ping()
    tried.tcp(SSH)
    for address in peer_ip(), peer_ip6():
        talk(bed.kern, bed.peer, address, NOT_WANTED)  # the kernel's own
    for address in TAP_IP, TAP_IP6:
        refused(bed.peer, bed.kern, address, NOT_WANTED)
        tried.silent(bed.peer, bed.kern, address, NOT_WANTED)


def dhcp(tried):
    """The ports both ways, also under a default of drop, and a broadcast from either side."""
    tried.daemon.ask("steer", "default", "drop")
    bed = tried.bed
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        for source, target in (tap, wire), (wire, tap):
            for port, layer, group in ((67, None, "ff:ff:ff:ff:ff:ff"), (68, None, TO), (547, IPv6, "33:33:00:01:00:02"), (546, IPv6, TO)):
                ip = IPv6(src="fe80::1", dst="ff02::1:2") / UDP(sport=1024, dport=port) if layer else UDP(sport=1024, dport=port)
                source.send(frame(ip, src=FROM if source is wire else bed.kern.mac("tap0"), dst=group))
                target.expect(b"payload of a test")


def link_local(tried):
    bed = tried.bed
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        for source, target, src in (tap, wire, bed.kern.mac("tap0")), (wire, tap, FROM):
            for last, kind in (0x0e, 0x88cc), (0x02, 0x8809):
                said = ether(f"01:80:c2:00:00:{last:02x}", src, b"link-local protocol" + bytes(60), kind)
                source.send(said)
                target.expect(said)


def lacp_of_a_bond(tried):
    bed = tried.bed
    with Wire(bed.host, "eth0") as own, Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        said = ether("01:80:c2:00:00:02", FROM, b"slow protocol" + bytes(60), 0x8809)
        wire.send(said)
        own.expect(said)
        assert said not in tap.drain()
    tried.tcp(HTTP)


def vlans(tried):
    bed, daemon = tried.bed, tried.daemon
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peers[0], "vp") as first, Wire(bed.peers[1], "vp") as second:
        for source, target, vlan, src in ((first, tap, 10, FROM), (tap, first, 10, bed.kern.mac("tap0")), (first, second, 20, FROM),
                                          (second, first, 20, "02:00:00:00:66:03")):
            for layer in UDP(), IPv6(src="2001:db8:5::1", dst="2001:db8:5::2") / UDP():
                source.send(frame(layer, vlan=vlan, src=src))
                target.expect(b"payload of a test")
        before = daemon.rest()
        for wire in tap, first, second:
            wire.drain()
        second.send(frame(UDP(), vlan=10, src="02:00:00:00:66:03"), frame(UDP(), src="02:00:00:00:66:03"))
        wait_for(lambda: daemon.stats()["ports"]["eth1"]["drops"]["verdict"] >= before["ports"]["eth1"]["drops"]["verdict"] + 2,
                 "they are dropped")
        assert not any(b"payload of a test" in got for wire in (tap, first) for got in wire.drain())


def stays_on_the_nic(tried):
    bed = tried.bed
    tried.ping()
    tried.tcp(HTTP)
    for address in HOST_IP, HOST_IP6:
        talk(bed.peer, bed.host, address, SSH)
        talk(bed.peer, bed.host, address, NOT_WANTED)
    for address in peer_ip(), peer_ip6():
        talk(bed.host, bed.peer, address, SSH)
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        wire.send(frame(TCP(dport=HTTP), dst=bed.host.mac("eth0")))
        tap.expect(b"payload of a test")


RECIPES = {
    "A router's BGP and BFD through the uplink": bgp_and_bfd,
    "Protecting the kernel from a punt storm": punt_storm,
    "Drop all but …": drop_all_but,
    "DHCP": dhcp,
    "LLDP and LACP to the kernel": link_local,
    "LACP stays with a bond": lacp_of_a_bond,
    "VLANs to different ports": vlans,
    "Letting a TCP service stay on the NIC": stays_on_the_nic,
}


def test_each_recipe_of_the_page_is_tried():
    assert [block.heading for block in blocks(PAGE)][1:] == list(RECIPES)


@pytest.mark.parametrize("heading", RECIPES)
def test_recipe_works_both_ways(make_bed, heading):
    block = next(block for block in blocks(PAGE) if block.heading == heading)
    shared = RECIPES[heading] is stays_on_the_nic
    bed = make_bed(uplinks=2 if "eth1" in " ".join(block.commands) else 1)
    for i, name in enumerate(list(bed.uplinks)):
        bed.host.ip(f"link set {name} down", f"link set {name} name eth{i}", f"link set eth{i} up")
    bed.uplinks = [f"eth{i}" for i in range(len(bed.uplinks))]
    if shared:
        bed.host.sysctl(ipv6__conf__eth0__disable_ipv6=0)
        bed.host.ip(f"addr add {HOST_IP}/24 dev eth0", f"addr add {HOST_IP6}/64 dev eth0 nodad")
    daemon = bed.start(uplinks=["eth0"] if shared else None)
    with Shell(bed.in_host(), env=bed.env) as shell:
        for line in block.commands:
            done = shell.type(line)
            assert done.status == 0, f"{block.place}: {line}: {done.output}"
            assert "warning" not in done.output, f"{block.place}: {line}: {done.output}"
    RECIPES[heading](Tried(bed, daemon))
