# SPDX-License-Identifier: BSD-2-Clause
"""The kernel behind tap0 and a host on the wire reach each other with everything that hosts say.

    kern: tap0 192.0.2.1, 2001:db8::1 ◄── xbridge ──► va ◄── veth ──► vp 192.0.2.2, 2001:db8::2 :peer
"""

import glob
import os

import pytest

from traffic import Wire, ether, tcp_copy, udp_copy
from xbridge import IN_VM, NICS, TAP_IP, TAP_IP6, difference, drops, peer_ip, peer_ip6, scaled, wait_for

BOTH_WAYS = pytest.mark.parametrize("way", ["to_kernel", "from_kernel"])
BOTH_IP = pytest.mark.parametrize("version", [4, 6])
MB = 1 << 20


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed(queues=2)
    bed.start("--queues", "2")
    return bed


@pytest.fixture(autouse=True)
def accounted_for(bed):
    """Each test leaves every packet accounted for."""
    yield
    bed.daemon.rest()


@pytest.fixture
def nothing_lost(bed):
    """What never sends more than a few packets ahead of its answer loses none."""
    before = bed.daemon.rest()
    yield
    after = bed.daemon.rest()
    for port in "tap0", "va":
        assert not drops(difference(after, before), port)
        assert after["ports"][port]["rx_missed"] == before["ports"][port]["rx_missed"]


def ends(bed, way, version):
    """Who sends, who receives, and the receiver's address."""
    if way == "to_kernel":
        return bed.peer, bed.kern, TAP_IP if version == 4 else TAP_IP6
    return bed.kern, bed.peer, peer_ip() if version == 4 else peer_ip6()


@BOTH_WAYS
def test_arp_finds_the_other_side(bed, nothing_lost, way):
    source, target, ip = ends(bed, way, 4)
    ifname, there = ("vp", "tap0") if way == "to_kernel" else ("tap0", "vp")
    said = source.run("arping", "-c", "1", "-w", "10", "-I", ifname, ip).stdout
    assert target.mac(there) in said.lower()


@pytest.mark.vm
@BOTH_WAYS
@BOTH_IP
def test_ping_is_answered(bed, nothing_lost, way, version):
    source, target, ip = ends(bed, way, version)
    source.ip("neigh flush all")  # so that it has to be asked for first
    said = source.run("ping", "-c", "3", "-i", "0.05", "-W", "30", ip).stdout
    assert " 3 received" in said
    neighbour = source.run("ip", "neigh", "get", ip, "dev", "vp" if way == "to_kernel" else "tap0").stdout
    assert target.mac("tap0" if way == "to_kernel" else "vp") in neighbour


@BOTH_WAYS
@pytest.mark.parametrize("size", [8, 1472, 1473, 9000])
def test_ping_of_any_size_is_answered(bed, nothing_lost, way, size):
    source, _, ip = ends(bed, way, 4)
    source.run("ping", "-c", "1", "-W", "10", "-s", str(size), ip)


@pytest.mark.vm
@BOTH_IP
def test_tcp_runs_both_ways_at_once(bed, version):
    source, target, ip = ends(bed, "to_kernel", version)
    tcp_copy(source, target, ip, scaled(32 * MB), back=scaled(32 * MB))


@BOTH_WAYS
@BOTH_IP
@pytest.mark.parametrize("size", [8, pytest.param(1400, marks=pytest.mark.vm), pytest.param(30000, marks=pytest.mark.vm)])
def test_datagrams_arrive_once_whole_and_in_order(bed, nothing_lost, way, version, size):
    source, target, ip = ends(bed, way, version)
    udp_copy(source, target, ip, scaled(2000, least=32), size, window=8)


def tagged(ns, ifname, vlan, ip):
    """A VLAN device on top of an interface."""
    ns.ip(f"link add link {ifname} name v{vlan} type vlan id {vlan}",
          f"link set v{vlan} up", f"addr add {ip}/24 dev v{vlan}")


def has_vlan_devices(ns):
    done = ns.run("ip", "link", "add", "link", "lo", "name", "probe", "type", "vlan", "id", "1", check=False)
    return "Unknown device type" not in done.stderr


@BOTH_WAYS
@pytest.mark.parametrize("tags", [(7,), (4094,), ((0x88A8, 7), 8), (7, 8, 9)])
def test_tagged_frames_keep_their_tags(bed, nothing_lost, way, tags):
    source, target, _ = ends(bed, way, 4)
    ifnames = ("vp", "tap0") if way == "to_kernel" else ("tap0", "vp")
    with Wire(source, ifnames[0]) as out, Wire(target, ifnames[1]) as into:
        for size in 50, 1500 - 4 * len(tags):  # a packet socket allows no more behind every tag
            frame = ether(target.mac(ifnames[1]), source.mac(ifnames[0]), os.urandom(size), tags=tags)
            out.send(frame)
            assert into.expect(frame[-50:]) == frame


@pytest.mark.vm
def test_vlan_devices_reach_each_other_and_no_other_vlan(bed):
    if not has_vlan_devices(bed.kern):
        pytest.skip("this kernel has no VLAN devices")
    if not NICS:  # or va gets the tag beside the frame, where XDP is blind
        bed.peer.run("ethtool", "-K", "vp", "txvlan", "off")
    tagged(bed.kern, "tap0", 7, "198.51.100.1")
    tagged(bed.peer, "vp", 7, "198.51.100.2")
    tagged(bed.peer, "vp", 8, "203.0.113.2")
    tagged(bed.kern, "tap0", 9, "203.0.113.1")
    bed.peer.run("ping", "-c", "2", "-i", "0.02", "-W", "10", "198.51.100.1")
    tcp_copy(bed.peer, bed.kern, "198.51.100.1", scaled(4 * MB), back=scaled(4 * MB))
    udp_copy(bed.kern, bed.peer, "198.51.100.2", scaled(400, least=16), 1400)
    bed.kern.run("ping", "-c", "1", "-W", "10", "-s", "1472", "198.51.100.2")
    assert bed.peer.run("ping", "-c", "1", "-W", "1", "203.0.113.1", check=False).returncode
    learned = {(row["mac"], row["vlan"]) for row in bed.daemon.fdb() if row["port"] == "va"}
    assert {(bed.peer.mac("vp"), 7), (bed.peer.mac("vp"), 8)} <= learned
    for ns, vlans in (bed.kern, (7, 9)), (bed.peer, (7, 8)):
        ns.ip(*(f"link del v{vlan}" for vlan in vlans))


@pytest.mark.vm
@BOTH_WAYS
def test_a_large_file_arrives_whole(bed, way):
    source, target, ip = ends(bed, way, 4)
    tcp_copy(source, target, ip, scaled(256 * MB), patience=120)


def vhost_workers(pid):
    """The kernel's threads that serve a process' vhost devices: of their own up to 6.3, since then among its threads."""
    names = []
    for file in [*glob.glob("/proc/[0-9]*/comm"), *glob.glob(f"/proc/{pid}/task/*/comm")]:
        try:
            with open(file) as comm:
                names.append(comm.read().strip())
        except OSError:
            pass  # gone meanwhile
    return names.count(f"vhost-{pid}")


@pytest.mark.vm
@pytest.mark.vhost
def test_each_queue_pair_has_a_vhost_worker(bed):
    daemon = bed.daemon
    assert daemon.port("kernel")["backend"] == "vhost-net"
    for queues in 2, 4, 1, 2:
        daemon.ask("port", "set", "kernel", "--queues", str(queues))
        wait_for(lambda: vhost_workers(daemon.pid) == queues, f"{queues} workers")


@pytest.mark.long
@pytest.mark.skipif(not IN_VM, reason="natively the everyday test is as large")
@BOTH_WAYS
def test_a_256_mb_file_arrives_whole(bed, way):
    source, target, ip = ends(bed, way, 4)
    tcp_copy(source, target, ip, 256 * MB, patience=300)
