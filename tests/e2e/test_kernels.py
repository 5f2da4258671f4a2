# SPDX-License-Identifier: BSD-2-Clause
"""Several interfaces of the kernel, none, and domains.

    peer 1 ── va ┐                    ┌ tap0, in domain "" ┐
                 ├ xbridge, in `host` ┤                    ├ `kern`, which routes
    peer 2 ── vb ┘                    └ tap1, in domain b  ┘
"""

import contextlib

import pytest

from load import answers
from traffic import Wire, ether, tcp_copy
from xbridge import TAP_IP, TAP_IP6, peer_ip, peer_ip6, wait_for

NET2, NET2_6 = "198.51.100", "2001:db8:2::"
TAP1, PEER2, TAP1_6, PEER2_6 = f"{NET2}.1", f"{NET2}.2", f"{NET2_6}1", f"{NET2_6}2"


@pytest.fixture
def bed(make_bed):
    return make_bed(uplinks=2)


def start_two_segments(bed, *options):
    """An interface for each uplink, and a subnet for each pair."""
    daemon = bed.start("--kernel", f"tap1,carrier=vb,domain=b,netns={bed.kern.name}", *options,
                       uplinks=["va,dedicated", "vb,dedicated,domain=b"])
    address_second(bed)
    return daemon


def address_second(bed):
    bed.kern.ip(f"addr replace {TAP1}/24 dev tap1", f"addr replace {TAP1_6}/64 dev tap1 nodad")
    bed.peers[1].ip("addr flush dev vp", f"addr replace {PEER2}/24 dev vp", f"addr replace {PEER2_6}/64 dev vp nodad")


def route_between(bed):
    bed.kern.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    bed.peers[0].ip(f"route replace {NET2}.0/24 via {TAP_IP}", f"route replace {NET2_6}/64 via {TAP_IP6}")
    bed.peers[1].ip(f"route replace default via {TAP1}", f"route replace default via {TAP1_6}")


def frame_to(dmac):
    return ether(dmac, "02:00:00:00:00:01", bytes(46))


def arrives(wire, frame):
    return wait_for(lambda: frame in wire.drain(), "the frame arrives")


def reach(ns, target):
    wait_for(lambda: answers(ns, target), f"{target} answers {ns.name}")


def has_carrier(ns, ifname):
    return "NO-CARRIER" not in ns.link(ifname)["flags"]


@pytest.mark.kernels
def test_two_segments_with_an_interface_each_route_through_the_kernel(bed):
    daemon = start_two_segments(bed)
    route_between(bed)
    for ns, target in ((bed.peers[0], TAP_IP), (bed.peers[1], TAP1), (bed.kern, PEER2), (bed.kern, PEER2_6),
                       (bed.peers[0], PEER2), (bed.peers[1], peer_ip()), (bed.peers[0], PEER2_6), (bed.peers[1], peer_ip6())):
        reach(ns, target)
    tcp_copy(bed.peers[0], bed.peers[1], PEER2, 4 << 20)
    tcp_copy(bed.peers[1], bed.peers[0], peer_ip(), 4 << 20)
    daemon.rest()
    assert {(port["name"], port["domain"]) for port in daemon.status()["ports"]} == {
        ("tap0", ""), ("va", ""), ("tap1", "b"), ("vb", "b")}


def test_broadcasts_and_unknown_addresses_stay_in_their_domain(bed):
    start_two_segments(bed)
    with contextlib.ExitStack() as stack:
        sender, other = (stack.enter_context(Wire(peer, "vp")) for peer in bed.peers)
        tap0, tap1 = (stack.enter_context(Wire(bed.kern, ifname)) for ifname in ("tap0", "tap1"))
        for dmac in ("ff:ff:ff:ff:ff:ff", "33:33:00:00:00:77", "02:00:00:00:77:77"):
            sender.send(frame_to(dmac))
            arrives(tap0, frame_to(dmac))
            assert frame_to(dmac) not in other.drain() + tap1.drain()


def test_rules_cross_domains(bed):
    daemon = start_two_segments(bed, "--rule", "in va ethertype 0x88b5 to vb")
    with Wire(bed.peers[0], "vp") as sender, Wire(bed.peers[1], "vp") as other:
        sender.send(frame_to("02:00:00:00:77:77"))
        arrives(other, frame_to("02:00:00:00:77:77"))
    daemon.rest()


def test_an_address_may_be_in_several_domains(bed):
    daemon = start_two_segments(bed)
    for port in ("va", "vb"):
        daemon.ask("fdb", "add", "02:00:00:00:77:77", "port", port)
    rows = {(row["port"], row["domain"]) for row in daemon.fdb() if row["mac"] == "02:00:00:00:77:77"}
    assert rows == {("va", ""), ("vb", "b")}
    daemon.cli("fdb", "del", "02:00:00:00:77:77", "domain", "b")
    assert [row["port"] for row in daemon.fdb() if row["mac"] == "02:00:00:00:77:77"] == ["va"]
    assert "there is no domain 'c'" in daemon.cli("fdb", "del", "02:00:00:00:77:77", "domain", "c", check=False).stderr


def test_each_interface_has_the_carrier_and_the_mtu_of_its_uplink(bed):
    bed.host.ip("link set vb mtu 1400")
    start_two_segments(bed)
    assert bed.kern.link("tap1")["mtu"] == 1400 and bed.kern.link("tap0")["mtu"] == 1500
    bed.peers[1].ip("link set vp down")
    wait_for(lambda: not has_carrier(bed.kern, "tap1"), "tap1 loses its carrier")
    assert has_carrier(bed.kern, "tap0")
    bed.peers[1].ip("link set vp up")
    wait_for(lambda: has_carrier(bed.kern, "tap1"), "tap1 has its carrier again")
    bed.host.ip("link set vb mtu 1300")
    wait_for(lambda: bed.kern.link("tap1")["mtu"] == 1300, "tap1 has the MTU of vb")


def test_addresses_are_stable_and_differ(bed):
    def macs():
        return [bed.kern.mac(ifname) for ifname in ("tap0", "tap1")]
    daemon = start_two_segments(bed)
    first = macs()
    daemon.stop()
    start_two_segments(bed)
    assert macs() == first and first[0] != first[1]


def test_an_interface_may_have_its_uplinks_address(bed):
    bed.start("--kernel", f"tap1,carrier=vb,domain=b,mac=uplink,netns={bed.kern.name}",
              uplinks=["va,dedicated", "vb,dedicated,domain=b"])
    address_second(bed)
    assert bed.kern.mac("tap1") == bed.host.mac("vb") and bed.kern.mac("tap0") != bed.host.mac("va")
    reach(bed.kern, PEER2)
    reach(bed.peers[1], TAP1)


@pytest.mark.kernels
def test_kernel_ports_come_and_go(bed):
    daemon = bed.start(uplinks=["va,dedicated", "vb,dedicated,domain=b"])
    for _ in range(2):
        daemon.ask("port", "add", "--kernel", f"tap1,carrier=vb,domain=b,netns={bed.kern.name}")
        address_second(bed)
        reach(bed.kern, PEER2)
        daemon.ask("port", "set", "tap1", "--queues", "2")
        assert daemon.port("tap1")["queues"] == 2 and daemon.port("tap0")["queues"] == 1
        reach(bed.peers[1], TAP1)
        daemon.ask("port", "del", "tap1")
        assert not bed.kern.link("tap1") and "tap1" not in daemon.stats()["ports"]
    reach(bed.peers[0], TAP_IP)
    stats = daemon.rest()
    assert stats["departed"]["rx_packets"] and stats["departed"]["tx_packets"]


@pytest.mark.kernels
def test_the_first_kernel_port_goes_and_comes_back(bed):
    daemon = bed.start()
    reach(bed.peers[0], TAP_IP)
    daemon.ask("port", "del", "kernel")
    assert not bed.kern.link("tap0") and daemon.cli("port", "set", "kernel", "--queues", "2", check=False).returncode == 1
    daemon.process.send_signal(1)  # SIGHUP
    daemon.ask("port", "add", "--kernel", f"tap0,netns={bed.kern.name}")
    assert daemon.port("tap0")["alias"] == "kernel"
    bed.address_tap()
    reach(bed.peers[0], TAP_IP)
    daemon.ask("steer", "add", "in uplink dmac kernel proto 200 to drop")
    assert "rule 1 names it" in daemon.cli("port", "del", "tap0", check=False).stderr
    daemon.rest()


def test_without_a_kernel_port_uplinks_are_bridged(bed):
    daemon = bed.start("--no-kernel", addresses=False)
    assert [port["name"] for port in daemon.status()["ports"]] == ["va", "vb"]
    assert not bed.kern.link("tap0")
    reach(bed.peers[0], peer_ip(1))
    reach(bed.peers[1], peer_ip6(0))
    assert "there is no port 'kernel'" in daemon.cli("steer", "add", "proto 200 to kernel", check=False).stderr + \
        daemon.cli("port", "del", "kernel", check=False).stderr
    daemon.rest()


@pytest.mark.parametrize("option, why", [
    ("tap0", "it is the first one's name"), ("va", "is both uplink and kernel port"),
    ("tap1,carrier=vx", "there is no uplink 'vx'"), ("tap1,queues=0", "1 to 64"), ("tap1,colour=red", "domain=NAME"),
    ("tap1,mtu=1400,mtu=1500", "given twice")])
def test_bad_kernel_ports_are_refused(bed, option, why):
    daemon = bed.start("--kernel", option, ready=False)
    assert daemon.wait_exit() == 2 and why in daemon.text(), daemon.text()
