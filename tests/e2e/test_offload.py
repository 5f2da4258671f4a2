# SPDX-License-Identifier: BSD-2-Clause
"""What is left to the other side (checksums, segmentation), and what leaves the uplink in the end, through AF_XDP
(test_packet_tx.py is about the other way).

    kern: tap0 ◄── large segments, open checksums ── xbridge ── whole frames ──► va ◄── veth ──► vp :peer
"""

import collections
import errno
import os
import signal
import socket
import struct
import subprocess

import pytest

from traffic import BLOCK, UDP_SEGMENT, Wire, check_packet, tcp_copy, udp_copy, udp_socket
from xbridge import TAP_IP, TAP_IP6, difference, drops, peer_ip, peer_ip6, preloaded, scaled

MB = 1 << 20
KERNEL = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
TUN_HAS_USO = KERNEL >= (6, 2)
USO_WITHOUT_CSUM = KERNEL >= (6, 11)  # on an interface that computes no checksums; EIO before
FEATURES = ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation"]
FEATURES += ["tx-udp-segmentation"] if TUN_HAS_USO else []
TAKES = {"csum", "tso4", "tso6", "ecn"} | ({"uso"} if TUN_HAS_USO else set())
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
    bed.start(*(["--no-offload"] if request.param == "no-offload" else []), uplinks=["va,dedicated,tx=xdp"])
    bed.offload = request.param == "offload"
    return bed


def test_ethtool_shows_the_offloads(bed):
    shown = features(bed.kern, "tap0")
    assert {name: shown[name] for name in FEATURES} == dict.fromkeys(FEATURES, bed.offload)
    assert set(bed.daemon.port("kernel")["takes"]) == (TAKES if bed.offload else set())


@BOTH_IP
def test_segments_from_the_kernel_are_counted(bed, version):
    before = bed.daemon.rest()
    tcp_copy(bed.kern, bed.peer, peer_ip() if version == 4 else peer_ip6(), scaled(16 * MB))
    change = difference(bed.daemon.rest(), before)
    tap, wire = change["ports"]["tap0"], change["ports"]["va"]
    if bed.offload:
        assert 0 < tap["rx_gso_packets"] <= change["segments_added"], "each becomes two at least"
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


def uso_send(sock, data, size):
    """One send that the sender's kernel cuts, or has cut, into datagrams of `size` bytes."""
    try:
        sock.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))])
    except OSError as error:
        if error.errno == errno.EIO:  # this kernel wants checksum offload for it
            return False
        raise
    return True


def uso_copy(source, target, ip, sends, size, bytes_each):
    """Sends `bytes_each` bytes in datagrams of `size`, the last one shorter, `sends` times; asserts that each datagram
    arrives whole, once and in order. Returns how many there were; 0: the kernel refuses to send so."""
    count = -(-bytes_each // size)
    with udp_socket(source, ip) as sender, udp_socket(target, ip) as receiver:
        sender.connect((ip, receiver.getsockname()[1]))
        for number in range(sends):
            data = struct.pack("!Q", number) + BLOCK[number:number + bytes_each - 8]
            if not uso_send(sender, data, size):
                return 0
            for at in range(0, bytes_each, size):
                assert receiver.recv(65536) == data[at:at + size], f"bytes {at}… of send {number}"
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(65536)
    return sends * count


USO_SIZES = pytest.mark.parametrize("size, bytes_each", [(1400, 64 * 1000), (1452, 1452 * 2),
                                                         pytest.param(17, 17 * 60 + 3, marks=pytest.mark.dear)])


@BOTH_IP
@USO_SIZES
def test_udp_segments_from_the_kernel_arrive_as_datagrams(bed, version, size, bytes_each):
    sends = scaled(16, least=2)
    before = bed.daemon.rest()
    with Wire(bed.peer, "vp") as wire:
        datagrams = uso_copy(bed.kern, bed.peer, peer_ip() if version == 4 else peer_ip6(), sends, size, bytes_each)
        after = bed.daemon.rest()
        kinds, longest = checked(wire.drain(), bed.kern.mac("tap0"))
    assert (datagrams > 0) == (bed.offload or USO_WITHOUT_CSUM)
    change = difference(after, before)
    tap = change["ports"]["tap0"]
    assert drops(change, "tap0") == drops(change, "va") == {}
    assert kinds[f"udp{version}"] == datagrams
    assert longest == (14 + (20 if version == 4 else 40) + 8 + size if datagrams else longest)
    assert tap["rx_gso_packets"] == (sends if bed.offload and TUN_HAS_USO else 0)
    assert change["segments_added"] == datagrams - sends if tap["rx_gso_packets"] else change["segments_added"] == 0


@pytest.mark.parametrize("version", [4, pytest.param(6, marks=pytest.mark.dear)])
@USO_SIZES
def test_udp_segments_towards_the_kernel_arrive_as_datagrams(bed, version, size, bytes_each):
    errors = bed.kern.snmp()["InCsumErrors"]
    before = bed.daemon.rest()
    with Wire(bed.kern, "tap0") as wire:
        datagrams = uso_copy(bed.peer, bed.kern, TAP_IP if version == 4 else TAP_IP6, scaled(16, least=2), size,
                             bytes_each)
        change = difference(bed.daemon.rest(), before)
        lengths = collections.Counter(len(frame) for frame in wire.drain() if frame[6:12] == peer_mac(bed))
    assert datagrams > 0
    assert lengths[14 + (20 if version == 4 else 40) + 8 + size] >= datagrams - scaled(16, least=2)
    assert max(lengths) <= 1514
    assert drops(change, "tap0") == drops(change, "va") == {}
    assert change["ports"]["va"]["rx_packets"] >= datagrams, "the veth cuts them where XDP looks at each frame"
    assert change["ports"]["va"]["rx_gso_packets"] == change["ports"]["tap0"]["tx_gso_packets"] == 0
    assert bed.kern.snmp()["InCsumErrors"] == errors


def all_kinds_of_traffic(bed):
    """TCP, UDP and fragments, IPv4 and IPv6, both ways."""
    tcp_copy(bed.kern, bed.peer, peer_ip(), scaled(2 * MB), back=scaled(MB))
    tcp_copy(bed.kern, bed.peer, peer_ip6(), scaled(2 * MB), back=scaled(MB))
    for ip in peer_ip(), peer_ip6():
        udp_copy(bed.kern, bed.peer, ip, 20, 1400)
        udp_copy(bed.kern, bed.peer, ip, 20, 17)  # an odd length
        udp_copy(bed.kern, bed.peer, ip, 4, 30000, window=2)
        bed.kern.run("ping", "-c", "2", "-i", "0.02", "-W", "10", ip)


def peer_mac(bed):
    return bytes.fromhex(bed.peer.mac("vp").replace(":", ""))


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


# ---- VLAN tags ----

# A C library's ioctl under which each interface takes VLAN tags off, as a NIC does.
RXVLAN_ON = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>

int ioctl(int fd, unsigned long request, ...)
{
	int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	va_list args;
	va_start(args, request);
	struct ifreq *req = va_arg(args, void *);
	va_end(args);
	int ret = real(fd, request, req);
	if (request == SIOCETHTOOL && *(unsigned *)req->ifr_data == ETHTOOL_GFLAGS)
		((struct ethtool_value *)(void *)req->ifr_data)->data |= ETH_FLAG_RXVLAN;
	return ret;
}
"""
TAGS_LOST = "VLAN tags are lost before XDP sees a frame, and rules with `vlan ID` do not match it: ethtool -K"


def said_of_tags(bed, uplink, **how):
    """Starts it on an uplink; what it warns of, and whether `status` says so."""
    daemon = bed.start(uplinks=[f"{uplink},dedicated"], addresses=False, **how)
    said = [line.partition(": ethtool")[2] for line in daemon.log if TAGS_LOST in line]
    status = daemon.port(uplink)["loses_vlan_tags"]
    assert status == (f"VLAN tags are lost: see xbridge doctor {uplink}" in daemon.cli("status").stdout)
    daemon.kill(signal.SIGTERM)
    assert daemon.wait_exit() == 0
    return said, status


def test_a_veth_whose_peer_leaves_vlan_tags_beside_frames_is_warned_of(make_bed):
    bed = make_bed(uplinks=0)
    bed.host.ip("link add va type veth peer name near", "link set va up", "link set near up")
    assert said_of_tags(bed, "va") == ([" -K near txvlan off"], True)
    bed.host.run("ethtool", "-K", "near", "txvlan", "off")
    assert said_of_tags(bed, "va") == ([], False)
    bed.host.run("ethtool", "-K", "near", "txvlan", "on")
    bed.host.ip(f"link set near netns {bed.kern.name}")
    assert said_of_tags(bed, "va") == ([], False), "nothing is known of a peer elsewhere"


def test_vlan_tags_that_are_lost_or_stay_while_it_runs_are_told_once_each_time(make_bed):
    bed = make_bed(uplinks=0)
    bed.host.ip("link add va type veth peer name near", "link set va up", "link set near up")
    daemon = bed.start(uplinks=["va,dedicated"], addresses=False)
    for _ in range(2):
        since = len(daemon.log)
        bed.host.run("ethtool", "-K", "near", "txvlan", "off")
        daemon.wait_log("uplink va: VLAN tags stay in frames now", since=since)
        assert not daemon.port("va")["loses_vlan_tags"]
        bed.host.run("ethtool", "-K", "near", "txvlan", "on")
        daemon.wait_log(f"warning: uplink va: {TAGS_LOST} near txvlan off", since=since)
        assert daemon.port("va")["loses_vlan_tags"]
    bed.host.ip(f"link set near netns {bed.kern.name}")
    daemon.wait_log("uplink va: its peer is in another network namespace now")
    assert not daemon.port("va")["loses_vlan_tags"]
    assert len([line for line in daemon.log if "VLAN tags" in line]) == 6


def test_a_nic_that_takes_vlan_tags_off_is_warned_of(make_bed, tmp_path):
    source, library = tmp_path / "on.c", tmp_path / "on.so"
    source.write_text(RXVLAN_ON)
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    bed = make_bed(uplinks=0)
    bed.host.ip("tuntap add nic0 mode tap", "link set nic0 up")
    assert said_of_tags(bed, "nic0") == ([], False)
    assert said_of_tags(bed, "nic0", wrap=preloaded(library)) == ([" -K nic0 rxvlan off"], True)
