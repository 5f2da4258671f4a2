# SPDX-License-Identifier: BSD-2-Clause
"""What is left to the other side (checksums, segmentation), and what leaves the uplink in the end.

    kern: tap0 ◄── large segments, open checksums ── xbridge ── whole frames ──► va ◄── veth ──► vp :peer
"""

import collections

import pytest

from traffic import Wire, check_packet, tcp_copy, udp_copy
from xbridge import TAP_IP, TAP_IP6, difference, peer_ip, peer_ip6, scaled

MB = 1 << 20
FEATURES = ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation"]
BOTH_IP = pytest.mark.parametrize("version", [4, 6])


def features(ns, ifname):
    said = ns.run("ethtool", "-k", ifname).stdout
    return {name.strip(): value.split()[0] == "on" for name, value in
            (line.split(":") for line in said.splitlines()[1:])}


@pytest.fixture(scope="module", params=[pytest.param("offload", marks=pytest.mark.vm),
                                        pytest.param("no-offload", marks=pytest.mark.kernels)])
def bed(request, make_module_bed):
    """With and without."""
    bed = make_module_bed()
    bed.start(*(["--no-offload"] if request.param == "no-offload" else []))
    bed.offload = request.param == "offload"
    return bed


def test_ethtool_shows_the_offloads(bed):
    shown = features(bed.kern, "tap0")
    assert {name: shown[name] for name in FEATURES} == dict.fromkeys(FEATURES, bed.offload)
    takes = bed.daemon.port("kernel")["takes"]
    assert {"csum", "tso4", "tso6"} <= set(takes) if bed.offload else takes == []


@BOTH_IP
def test_segments_from_the_kernel_are_counted(bed, version):
    before = bed.daemon.rest()
    tcp_copy(bed.kern, bed.peer, peer_ip() if version == 4 else peer_ip6(), scaled(16 * MB))
    change = difference(bed.daemon.rest(), before)
    tap, wire = change["ports"]["tap0"], change["ports"]["va"]
    if bed.offload:
        assert tap["rx_gso_packets"] > 0 and change["segments_added"] > tap["rx_gso_packets"]
        assert tap["rx_csum_left"] > tap["rx_packets"] * 0.9
        assert wire["tx_packets"] > tap["rx_packets"]
    else:
        assert tap["rx_gso_packets"] == tap["rx_csum_left"] == change["segments_added"] == 0
        assert wire["tx_packets"] + sum(wire["drops"].values()) == tap["rx_packets"] - sum(tap["drops"].values())
    assert wire["tx_gso_packets"] == wire["tx_csum_left"] == 0, "an AF_XDP socket takes whole frames"


@BOTH_IP
def test_segments_towards_the_kernel_are_counted(bed, version):
    before = bed.daemon.rest()
    tcp_copy(bed.peer, bed.kern, TAP_IP if version == 4 else TAP_IP6, scaled(16 * MB))
    change = difference(bed.daemon.rest(), before)
    tap, wire = change["ports"]["tap0"], change["ports"]["va"]
    if bed.offload:
        assert tap["tx_gso_packets"] > 0 and change["frames_joined"] >= tap["tx_gso_packets"]
        assert tap["tx_csum_left"] > 0
        assert tap["tx_packets"] < wire["rx_packets"]
    else:
        assert tap["tx_gso_packets"] == tap["tx_csum_left"] == change["frames_joined"] == 0
        assert tap["tx_packets"] + sum(tap["drops"].values()) == wire["rx_packets"] - sum(wire["drops"].values())
    assert wire["rx_gso_packets"] == 0


def all_kinds_of_traffic(bed):
    """TCP, UDP and fragments, IPv4 and IPv6, both ways."""
    tcp_copy(bed.kern, bed.peer, peer_ip(), scaled(2 * MB), back=scaled(MB))
    tcp_copy(bed.kern, bed.peer, peer_ip6(), scaled(2 * MB), back=scaled(MB))
    for ip in peer_ip(), peer_ip6():
        udp_copy(bed.kern, bed.peer, ip, 20, 1400)
        udp_copy(bed.kern, bed.peer, ip, 20, 17)  # an odd length
        udp_copy(bed.kern, bed.peer, ip, 4, 30000, window=2)
        bed.kern.run("ping", "-c", "2", "-i", "0.02", "-W", "10", ip)


def checked(frames, source_mac):
    """Checks all frames from a MAC, and counts what they hold; the longest too."""
    kinds, longest = collections.Counter(), 0
    for frame in frames:
        if frame[6:12] == bytes.fromhex(source_mac.replace(":", "")):
            kinds[check_packet(frame)] += 1
            longest = max(longest, len(frame))
    return kinds, longest


def test_every_length_and_checksum_that_leaves_the_uplink_is_right(bed):
    with Wire(bed.peer, "vp") as wire:
        all_kinds_of_traffic(bed)
        bed.daemon.rest()
        kinds, longest = checked(wire.drain(), bed.kern.mac("tap0"))
    assert longest == 1514
    for kind in "tcp4", "tcp6", "udp4", "udp6", "frag4", "icmpv6":
        assert kinds[kind] > 0, kinds
    assert kinds["tcp4"] > scaled(2 * MB) // 1460


@pytest.mark.parametrize("policy", ["trust", "verify"])
def test_a_checksum_from_the_wire_is_checked_by_the_receiver_unless_trusted(make_bed, policy):
    """`verify` takes checksums as they stand: a wrong one is found by the kernel behind tap0. `trust` believes the
    uplink's interface that it has looked."""
    bed = make_bed(quiet=True)
    bed.start(uplinks=[f"va,dedicated,csum={policy}"])
    bed.peer.run("ethtool", "-K", "vp", "tx", "off")  # no partial checksums from the veth
    udp_copy(bed.peer, bed.kern, TAP_IP, 20, 1400)
    with_error = wrong_datagram(bed)
    before = bed.kern.snmp()
    with Wire(bed.peer, "vp") as wire:
        wire.send(with_error, with_error)
    bed.daemon.rest()
    after = bed.kern.snmp()
    assert after["InCsumErrors"] - before["InCsumErrors"] == (2 if policy == "verify" else 0)
    assert after["NoPorts"] - before["NoPorts"] == (0 if policy == "verify" else 2)


def wrong_datagram(bed):
    """A UDP datagram for a port where nobody listens, its checksum wrong."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    packet = Ether(src=bed.peer.mac("vp"), dst=bed.kern.mac("tap0")) / IP(src=peer_ip(), dst=TAP_IP)
    return bytes(packet / UDP(sport=4000, dport=4001, chksum=0x1234) / bytes(40))


def test_a_peer_that_computes_its_checksums_is_served_too(make_bed):
    bed = make_bed()
    bed.peer.run("ethtool", "-K", "vp", "tx", "off")
    bed.start(uplinks=["va,dedicated,csum=verify"])
    tcp_copy(bed.peer, bed.kern, TAP_IP, scaled(8 * MB), back=scaled(8 * MB))
    tcp_copy(bed.peer, bed.kern, TAP_IP6, scaled(8 * MB), back=scaled(8 * MB))
    stats = bed.daemon.rest()
    assert stats["ports"]["va"]["rx_csum_left"] == 0
    assert stats["frames_joined"] > 0, "a checksum that was verified here lets segments be joined"
