# SPDX-License-Identifier: BSD-2-Clause
"""An uplink with tx=packet: segments leave whole, through a packet socket, and whoever is behind it cuts them.

    kern: tap0 ◄── large segments ── xbridge ── packet socket ──► va ◄── veth ──► vp :peer
"""

import subprocess

import pytest

from load import answers
from test_accounting import Books, lost_inside
from test_offload import all_kinds_of_traffic, checked
from test_traffic import has_vlan_devices, tagged
from traffic import Wire, ether, tcp_copy, udp_blast, udp_copy
from xbridge import TAP_IP, TAP_IP6, difference, drops, interesting, peer_ip, peer_ip6, preloaded, scaled

MB = 1 << 20
UPLINK = "va,dedicated,tx=packet"


@pytest.fixture
def bed(make_bed):
    return make_bed()


def test_it_is_said(bed):
    daemon = bed.start(uplinks=[UPLINK])
    daemon.wait_log(r"uplink va: sends through a packet socket \(as configured\)")
    assert daemon.port("va")["tx"] == "packet"
    assert {"csum", "tso4", "tso6", "ecn"} == set(daemon.port("va")["takes"])
    assert "tx=packet" in daemon.cli("port", "list").stdout


@pytest.mark.parametrize("word, way, why", [
    ("", "packet", "AF_XDP has no zero copy here"), (",tx=auto", "packet", "AF_XDP has no zero copy here"),
    (",tx=xdp", "xdp", "as configured"), (",tx=packet", "packet", "as configured")])
def test_without_zero_copy_the_packet_socket_is_chosen_and_it_is_said_why(bed, word, way, why):
    daemon = bed.start(uplinks=["va,dedicated" + word])
    assert (daemon.port("va")["tx"], daemon.port("va")["tx_why"]) == (way, why)
    words = {"packet": "a packet socket", "xdp": "AF_XDP"}[way]
    daemon.wait_log(rf"uplink va: sends through {words} \({why}\); choose with tx=xdp or tx=packet")
    shown = daemon.cli("status").stdout
    assert f"tx={way}" in shown and f"sends through {words}: {why}" in shown
    before = daemon.rest()
    tcp_copy(bed.kern, bed.peer, peer_ip(), scaled(4 * MB))
    assert (difference(daemon.rest(), before)["ports"]["va"]["tx_gso_packets"] > 0) == (way == "packet")


def test_where_there_can_be_no_packet_socket_af_xdp_is_taken(make_bed, tmp_path):
    """The kernel's refusal of the one socket that is to send (it has a virtio-net header), by a library loaded before."""
    source = tmp_path / "refuse.c"
    source.write_text('''
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <linux/if_packet.h>
        #include <sys/socket.h>
        int setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
        {
            int (*next)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
            if (level == SOL_PACKET && name == PACKET_VNET_HDR) { errno = ENOPROTOOPT; return -1; }
            return next(fd, level, name, value, bytes);
        }''')
    library = tmp_path / "refuse.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    bed = make_bed()
    daemon = bed.start(wrap=preloaded(library))
    assert daemon.port("va")["tx"] == "xdp" and "no packet socket: Protocol not available" in daemon.port("va")["tx_why"]
    tcp_copy(bed.kern, bed.peer, peer_ip(), scaled(4 * MB))
    daemon.rest()
    daemon.stop()
    daemon = bed.start(wrap=preloaded(library), uplinks=[UPLINK], ready=False)
    assert daemon.wait_exit() == 1
    daemon.wait_log("set up the packet socket for va")


@pytest.mark.vm
def test_segments_leave_whole_and_count_once(make_bed):
    bed = make_bed(quiet=True)
    bed.start(uplinks=[UPLINK])
    books = Books(bed)
    tcp_copy(bed.kern, bed.peer, peer_ip(), scaled(32 * MB), back=scaled(8 * MB))
    change = books.close()
    ports = change["xbridge"]["ports"]
    assert ports["va"]["tx_gso_packets"] >= ports["tap0"]["rx_gso_packets"] > 0
    assert ports["va"]["tx_csum_left"] > 0
    assert change["xbridge"]["segments_added"] == 0
    assert lost_inside(change) == 0


@pytest.mark.kernels
def test_segments_leave_whole_over_ipv6(bed):
    daemon = bed.start(uplinks=[UPLINK])
    tcp_copy(bed.kern, bed.peer, peer_ip6(), scaled(8 * MB))
    stats = daemon.rest()
    assert stats["ports"]["va"]["tx_gso_packets"] > 0 and stats["segments_added"] == 0


@pytest.mark.kernels
def test_what_the_interface_cant_do_the_kernel_does(bed):
    """No offloads on va: each frame that leaves is whole, its checksum right."""
    bed.host.run("ethtool", "-K", "va", "tx", "off")
    daemon = bed.start(uplinks=[UPLINK])
    with Wire(bed.peer, "vp") as wire:
        all_kinds_of_traffic(bed)
        stats = daemon.rest()
        kinds, longest = checked(wire.drain(), bed.kern.mac("tap0"))
    assert longest == 1514
    for kind in "tcp4", "tcp6", "udp4", "udp6", "frag4", "icmpv6":
        assert kinds[kind] > 0, kinds
    assert stats["ports"]["va"]["tx_gso_packets"] > 0


@pytest.mark.parametrize("tags", [[42], [(0x88A8, 42)], [(0x88A8, 7), 42], [7, 42]], ids=["802.1Q", "802.1ad", "both", "twice"])
def test_tagged_frame_of_full_length_crosses(make_bed, tags):
    """The packet socket takes one 802.1Q tag beyond the MTU and refuses (EMSGSIZE) any other."""
    bed = make_bed(uplinks=2, quiet=True)
    bed.host.ip("link set va mtu 1504")  # a veth drops what is longer than its peer's MTU and one tag
    for peer in bed.peers:
        peer.ip("link set vp mtu 1508")
    daemon = bed.start(uplinks=[UPLINK, "vb,dedicated,tx=packet"])
    with Wire(bed.peers[0], "vp") as one, Wire(bed.peers[1], "vp") as two:
        for number in range(20):
            payload = b"tagged %4d" % number
            frames = [ether("ff:ff:ff:ff:ff:ff", bed.peers[0].mac("vp"), payload + bytes(1489), tags=tags),
                      ether("ff:ff:ff:ff:ff:ff", bed.peers[0].mac("vp"), payload + bytes(50))]
            one.send(*frames)
            assert [two.expect(payload), two.expect(payload)] == frames
    stats = daemon.rest()
    assert stats["ports"]["vb"]["tx_packets"] == 40
    assert not drops(stats, "va") and not drops(stats, "vb")


@pytest.mark.vm
def test_tagged_segments_leave_whole(bed):
    if not has_vlan_devices(bed.kern):
        pytest.skip("this kernel has no VLAN devices")
    bed.peer.run("ethtool", "-K", "vp", "txvlan", "off")  # or va gets the tag beside the frame, where XDP is blind
    daemon = bed.start(uplinks=[UPLINK])
    tagged(bed.kern, "tap0", 7, "198.51.100.1")
    tagged(bed.peer, "vp", 7, "198.51.100.2")
    before = daemon.rest()
    tcp_copy(bed.kern, bed.peer, "198.51.100.2", scaled(8 * MB))
    change = difference(daemon.rest(), before)
    assert change["ports"]["va"]["tx_gso_packets"] > 0 and change["segments_added"] == 0
    assert not drops(change, "va"), interesting(change)


def test_what_the_interface_refuses_is_counted(make_bed):
    """Where nothing fits in the interface's queue, all that is sent there is dropped, and counts."""
    bed = make_bed(quiet=True)
    daemon = bed.start(uplinks=[UPLINK])
    udp_copy(bed.kern, bed.peer, peer_ip(), 10, 100)
    before = daemon.rest()
    bed.host.run("tc", "qdisc", "add", "dev", "va", "root", "pfifo", "limit", "0")
    assert not answers(bed.kern, peer_ip())
    change = difference(daemon.rest(), before)
    assert change["ports"]["va"]["tx_packets"] == 0
    assert drops(change, "va").get("tx_full"), interesting(change)
    bed.host.run("tc", "qdisc", "del", "dev", "va", "root")
    assert answers(bed.kern, peer_ip())


def test_books_balance_under_overload(make_bed):
    bed = make_bed(queues=2, quiet=True)
    bed.start("--queues", "2", "--queue-size", "64", uplinks=[UPLINK])
    books = Books(bed)
    count = scaled(60000, least=3000)
    arrived = udp_blast(bed.daemon, bed.kern, bed.peer, peer_ip(), count, 600, flows=8)
    change = books.close()
    kernels = change["tap"]["tx_dropped"] + change["udp"][0]["RcvbufErrors"]
    assert count == len(arrived) + lost_inside(change) + kernels, interesting(change)


def test_shared_uplink_sends_that_way_too(bed):
    """What xbridge sends does not come back to it as a group frame's copy."""
    daemon = bed.start(uplinks=["va,shared,tx=packet"])
    before = daemon.rest()
    tcp_copy(bed.kern, bed.peer, peer_ip6(), scaled(4 * MB))
    tcp_copy(bed.peer, bed.kern, TAP_IP6, scaled(4 * MB))
    bed.kern.run("ping", "-b", "-c", "3", "-i", "0.02", "-W", "1", "192.0.2.255", check=False)
    change = difference(daemon.rest(), before)
    assert not drops(change, "va"), interesting(change)
