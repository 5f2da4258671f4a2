# SPDX-License-Identifier: BSD-2-Clause
"""Two ports of xbridge on one segment: a broadcast would go round for ever.

    kern: tap0 ◄── xbridge ──┬─► va ◄── veth ──► p1 ─┐
                             └─► vb ◄── veth ──► p2 ─┴─ seg (a bridge) ── vp, a station :seg
"""

import time

import pytest

from traffic import Wire, ether
from xbridge import PATIENCE, drops, wait_for

BROADCAST, STATION = "ff:ff:ff:ff:ff:ff", "02:00:00:00:77:01"
NOTICED_S = 2 * PATIENCE + 0.5


def join(bed):
    """Puts the peers' ends of the uplinks onto one bridge, in the first peer's namespace."""
    one, two = bed.peers
    two.ip(f"link set vp netns {one.name} name p2")
    one.ip("link add seg type bridge", "link set seg up", "link set vp master seg", "link set p2 master seg", "link set p2 up")
    return one


@pytest.fixture
def bed(make_bed):
    bed = make_bed(uplinks=2, quiet=True)
    yield bed
    for daemon in bed.daemons:
        daemon.stop()


def rate(ns, ifname):
    """Frames that an interface receives in a tenth of a second."""
    before = ns.counters(ifname)["rx_packets"]
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 0.1, "a tenth of a second")
    return ns.counters(ifname)["rx_packets"] - before


def loop_troubles(daemon, name):
    return [trouble["text"] for trouble in daemon.port(name)["troubles"] if "loop" in trouble["text"]]


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["a-worker", "two-workers"])
@pytest.mark.parametrize("kind", ["dedicated", "shared"])
def test_a_loop_is_noticed_and_stopped_and_its_end_is_noticed_too(bed, kind, options):
    seg = join(bed)
    daemon = bed.start(*options, uplinks=[f"va,{kind}", f"vb,{kind}"], addresses=False)
    with Wire(seg, "seg") as wire, Wire(bed.kern, "tap0") as tap:
        def circulates():  # the bridge's ports take a moment until they forward
            wire.send(ether(BROADCAST, STATION, b"goes round" + bytes(50)))
            return any(b"goes round" in frame for frame in wire.drain())
        wait_for(circulates, "it goes round", 20, pause=0.1)
        began = time.monotonic()
        daemon.wait_log("warning: a loop: va and vb lie on one segment", 20)
        assert time.monotonic() - began < NOTICED_S
        wait_for(lambda: rate(seg, "vp") < 30, "it is stopped")
        for name, other in (("va", "vb"), ("vb", "va")):
            assert other in loop_troubles(daemon, name)[0]
        assert "lies on one segment" in daemon.cli("status").stdout
        (finding,) = [f for f in daemon.doctor("va") if f["check"] == "running"]
        assert finding["state"] == "warn" and "loop" in finding["text"]
        # what it withholds is counted; tap0 gets broadcasts all the same, and sends
        before = drops(daemon.stats(), "va").get("loop", 0) + drops(daemon.stats(), "vb").get("loop", 0)
        tap.drain()
        wire.send(ether(BROADCAST, STATION, b"for the kernel" + bytes(50)))
        tap.expect(b"for the kernel")
        tap.send(ether(BROADCAST, bed.kern.mac("tap0"), b"from the kernel" + bytes(50)))
        wire.expect(b"from the kernel")
        wait_for(lambda: sum(drops(daemon.stats(), name).get("loop", 0) for name in ("va", "vb")) > before, "they count")
        # the loop ends: p2 leaves the bridge
        seg.ip("link set p2 nomaster")
        daemon.wait_log("the loop is gone: va and vb are flooded to each other again", 20)
        assert not loop_troubles(daemon, "va")
        with Wire(seg, "p2") as two:
            wire.send(ether(BROADCAST, STATION, b"through" + bytes(50)))
            two.expect(b"through")
    assert len([line for line in daemon.log if "a loop: " in line]) == 1
    daemon.rest()


@pytest.mark.vm
def test_a_loop_within_a_vlan_is_noticed(bed):
    """The segment carries VLAN 5 alone: what is untagged does not cross it."""
    seg = join(bed)
    if seg.run("ip", "link", "set", "seg", "type", "bridge", "vlan_filtering", "1", check=False).returncode:
        pytest.skip("this kernel's bridge knows no VLANs")
    for port in "vp", "p2":
        seg.run("bridge", "vlan", "del", "dev", port, "vid", "1")
        seg.run("bridge", "vlan", "add", "dev", port, "vid", "5")
    seg.run("bridge", "vlan", "add", "dev", "seg", "vid", "5", "self")
    for port in "vp", "p2":
        seg.run("ethtool", "-K", port, "txvlan", "off", check=False)
    daemon = bed.start(addresses=False)
    with Wire(seg, "seg") as wire:
        wire.send(ether(BROADCAST, STATION, b"goes round" + bytes(50), tags=(5,)))
    daemon.wait_log("warning: a loop: va and vb lie on one segment", 20)
    wait_for(lambda: rate(seg, "vp") < 30, "it is stopped")


def test_a_loop_between_an_uplink_and_tap0_is_noticed(bed):
    """tap0 is on a bridge with an interface of the uplink's segment."""
    one = bed.peers[0]
    daemon = bed.start(uplinks=["va,dedicated"], addresses=False)
    bed.kern.ip(f"link add p3 type veth peer name p4 netns {one.name}", "link add kb type bridge", "link set kb up",
                "link set tap0 master kb", "link set p3 master kb", "link set p3 up")
    one.ip("link add seg type bridge", "link set seg up", "link set vp master seg", "link set p4 master seg", "link set p4 up")
    with Wire(one, "seg") as wire:
        def noticed():  # the bridges' ports take a moment until they forward
            wire.send(ether(BROADCAST, STATION, b"goes round" + bytes(50)))
            return any("a loop: tap0 and va lie on one segment" in line for line in daemon.log)
        wait_for(noticed, "the loop is noticed", 20, pause=0.2)
        wait_for(lambda: rate(one, "vp") < 30, "it is stopped")
    assert "tap0" in loop_troubles(daemon, "va")[0]


def test_own_broadcasts_that_come_back_show_a_loop_before_anything_goes_round(bed):
    seg = join(bed)
    daemon = bed.start(addresses=False)
    with Wire(bed.kern, "tap0") as tap:
        def noticed():  # it takes a moment until tap0's new carrier lets the first one out
            tap.send(ether(BROADCAST, bed.kern.mac("tap0"), b"is there anybody" + bytes(50)))
            return any("a loop: va and vb lie on one segment" in line for line in daemon.log)
        wait_for(noticed, "the loop is noticed", 20, pause=0.2)
    wait_for(lambda: rate(seg, "vp") < 30, "nothing goes round")


def test_an_address_that_moves_once_is_no_loop(make_bed):
    bed = make_bed(uplinks=2, quiet=True)
    daemon = bed.start()
    guest = "02:00:00:00:66:01"
    with Wire(bed.peers[0], "vp") as one, Wire(bed.peers[1], "vp") as two:
        one.send(ether(BROADCAST, guest, b"I am here" + bytes(50)))
        two.expect(b"I am here")
        two.send(ether(BROADCAST, guest, b"now here" + bytes(50)))
        one.expect(b"now here")
        wait_for(lambda: [frame for frame in two.drain() if frame[:6].hex() == "035842505242"], "a probe looks for a loop")
        two.send(ether(BROADCAST, guest, b"still here" + bytes(50)))
        one.expect(b"still here")
    assert "a loop:" not in daemon.text()


def test_a_storm_is_limited_by_default_and_said_once(make_bed):
    bed = make_bed(quiet=True)
    daemon = bed.start()
    assert daemon.port("va")["storm_pps"] == daemon.port("tap0")["storm_pps"] == 20000
    frame = ether(BROADCAST, bed.peer.mac("vp"), bytes(60))
    with Wire(bed.peer, "vp") as wire:
        def limited():
            wire.send(*[frame] * 2000)
            return drops(daemon.stats(), "va").get("storm")
        wait_for(limited, "the limit is met", 30, pause=0)
        daemon.wait_log(r"warning: va: more than 20000 group frames a second came in, \d+ were dropped .*--storm")
    daemon.ask("port", "set", "va", "--storm", "0")
    assert daemon.port("va")["storm_pps"] == 0
    daemon.rest()
