# SPDX-License-Identifier: BSD-2-Clause
"""Tunnels whose ends leave the checksum of the packet within to others, as the kernel does on a veth.

    kern: tap0 ◄── xbridge ──► va ◄── veth ──► vp :peer
                     ▲───────► vb ◄── veth ──► vp :peer2

The tunnel (`tun`) runs between peer and kern or between the peers; its ends are 172.31.0.1 and .2, fd31::1 and ::2.
"""

import functools
import subprocess

import pytest

from traffic import tcp_copy, udp_copy
from xbridge import TAP_IP, TAP_IP6, peer_ip, peer_ip6, scaled

KB = 1 << 10
MTU = {"tun": 1280, "outer": 1420}  # of 1500, and what IPv6 wants at least
INNER, INNER6 = "172.31.0.{}", "fd31::{}"

UDP_TUNNELS = {
    "vxlan": "vxlan id 7 dstport 4789 noudpcsum {ends4}",
    "vxlan-csum": "vxlan id 7 dstport 4789 udpcsum {ends4}",
    "vxlan-port": "vxlan id 7 dstport 12345 {ends4}",
    "vxlan-gbp": "vxlan id 7 dstport 8472 gbp {ends4}",
    "vxlan6": "vxlan id 7 dstport 4789 {ends6}",
    "vxlan6-nocsum": "vxlan id 7 dstport 4789 udp6zerocsumtx udp6zerocsumrx {ends6}",
    "geneve": "geneve id 7 remote {remote4}",
    "geneve-csum": "geneve id 7 udpcsum remote {remote4}",
    "geneve6": "geneve id 7 remote {remote6}",
}
IP_TUNNELS = {
    "gre": "gre {ends4}",
    "gre-all": "gre {ends4} key 5 seq csum",
    "gretap": "gretap {ends4} key 5",
    "gretap-csum": "gretap {ends4} csum",
    "ip6gre": "ip6gre {ends6}",
    "ip6gre-csum": "ip6gre {ends6} key 5 csum",
    "ip6gretap": "ip6gretap {ends6}",
    "ipip": "ipip {ends4}",
    "sit": "sit {ends4}",
    "ip6tnl": "ip6tnl mode any {ends6}",
}
TUNNELS = {**UDP_TUNNELS, **IP_TUNNELS}
NESTED = [("vxlan", "gre"), ("gre-all", "vxlan-csum"), ("geneve6", "ip6tnl"), ("vxlan6", "geneve-csum"), ("ipip", "sit")]
ONE_VERSION = {"ipip": (4,), "sit": (6,)}


class End:
    """One end: where it is, its device, its underlay addresses."""

    def __init__(self, ns, dev, number, ip, ip6):
        self.ns, self.dev, self.number, self.ip, self.ip6 = ns, dev, number, ip, ip6

    def inner(self, version):
        """Its address in the tunnel."""
        return (INNER if version == 4 else INNER6).format(self.number)


@functools.cache
def lacks(kind):
    """Whether this kernel has no interfaces of that kind."""
    words = f"{kind} remote {'::2' if kind.startswith('ip6') else '10.0.0.2'}"
    words += {"vxlan": " id 1 dstport 4789", "geneve": " id 1"}.get(kind, "")
    done = subprocess.run(["unshare", "-n", "ip", "link", "add", "probe", "type", *words.split()], check=False,
                          capture_output=True, text=True)
    return done.returncode != 0


def need(*names):
    """Skips where this kernel has not all of these tunnels."""
    for kind in (TUNNELS[name].split()[0] for name in names):
        if lacks(kind):
            pytest.skip(f"this kernel has no {kind}")


def lay(name, one, other, device="tun", ip=INNER, ip6=INNER6):
    """Makes a tunnel and gives its ends addresses."""
    for near, far in ((one, other), (other, one)):
        words = TUNNELS[name].format(
            ends4=f"local {near.ip} remote {far.ip}", remote4=far.ip,
            ends6=f"local {near.ip6} remote {far.ip6}", remote6=far.ip6)
        near.ns.ip(f"link add {device} type {words}", f"link set {device} mtu {MTU[device]}", f"link set {device} up",
                   f"addr add {ip.format(near.number)}/24 dev {device}",
                   f"addr add {ip6.format(near.number)}/64 dev {device} nodad")


def versions(name):
    return ONE_VERSION.get(name, (4, 6))


def errors(ends):
    return [end.ns.snmp(protocol)["InCsumErrors"] for end in ends for protocol in ("Tcp", "Udp")]


def exchange(one, other, which=(4, 6)):
    """TCP and UDP both ways through the tunnel between the two. (A tunnel may put datagrams out of order: one at a time.)"""
    before = errors((one, other))
    for version in which:
        tcp_copy(one.ns, other.ns, other.inner(version), scaled(512 * KB), back=scaled(512 * KB))
        for source, target in ((one, other), (other, one)):
            udp_copy(source.ns, target.ns, target.inner(version), 5, 1001, window=0)
    assert errors((one, other)) == before


@pytest.fixture(name="bed", scope="module")
def fixture_bed(make_module_bed):
    bed = make_module_bed(uplinks=2)
    bed.start()
    return bed


@pytest.fixture(name="pair", params=[pytest.param("kernel", marks=pytest.mark.vm),
                                      pytest.param("uplinks", marks=pytest.mark.kernels)])
def fixture_pair(request, bed):
    """Two ends between which frames cross xbridge."""
    one = End(bed.peer, "vp", 1, peer_ip(), peer_ip6())
    if request.param == "kernel":
        other = End(bed.kern, "tap0", 2, TAP_IP, TAP_IP6)
    else:
        other = End(bed.peers[1], "vp", 2, peer_ip(1), peer_ip6(1))
    yield one, other
    for end in one, other:
        subprocess.run(["ip", "-n", end.ns.name, "-force", "-batch", "-"], check=False, capture_output=True,
                       input=b"link del tun\nlink del outer\n")


@pytest.mark.parametrize("name", TUNNELS)
def test_tcp_and_udp_pass_through_a_tunnel_both_ways(pair, name):
    need(name)
    lay(name, *pair)
    exchange(*pair, versions(name))


@pytest.mark.parametrize("outer, inner", NESTED)
def test_tcp_and_udp_pass_through_a_tunnel_in_a_tunnel(pair, outer, inner):
    need(outer, inner)
    lay(outer, *pair, "outer", "172.30.0.{}", "fd30::{}")
    ends = [End(end.ns, "outer", end.number, f"172.30.0.{end.number}", f"fd30::{end.number}") for end in pair]
    lay(inner, *ends)
    exchange(*ends, versions(inner))


def label(near, far):
    """Routes to the far end's inner addresses with a label; takes that of the near end's."""
    near.ns.sysctl(mpls__platform_labels=1000)
    for number in 100 + near.number, 55:
        near.ns.run("ip", "-f", "mpls", "route", "replace", str(number), "dev", "lo")
    near.ns.ip(f"addr replace {INNER.format(near.number)}/32 dev lo", f"addr replace {INNER6.format(near.number)}/128 dev lo nodad",
               f"route replace {far.inner(4)}/32 encap mpls {100 + far.number} via {far.ip} dev {near.dev} "
               f"src {near.inner(4)}",
               f"route replace {far.inner(6)}/128 encap mpls 55/{100 + far.number} via {far.ip6} dev {near.dev} "
               f"src {near.inner(6)}")
    near.ns.run("sysctl", "-qw", *(f"net.mpls.conf.{device}.input=1" for device in (near.dev, "lo")))


def test_tcp_and_udp_pass_behind_mpls_labels(pair):
    one, other = pair
    try:
        one.ns.sysctl(mpls__platform_labels=1000)
    except FileNotFoundError:
        pytest.skip("this kernel has no MPLS")
    label(one, other)
    label(other, one)
    exchange(one, other)
