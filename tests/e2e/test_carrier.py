# SPDX-License-Identifier: BSD-2-Clause
"""tap0 has a carrier while an uplink has: who routes through it sees a line that is cut."""

import os

import pytest

from handed_in import open_tap
from load import answers
from xbridge import TAP_IP, peer_ip, wait_for


def flags(bed, ifname="tap0"):
    return set((bed.kern.link(ifname) or {}).get("flags", []))


def has_carrier(bed, ifname="tap0"):
    return {"UP", "LOWER_UP"} <= flags(bed, ifname) and "NO-CARRIER" not in flags(bed, ifname)


def has_none(bed, ifname="tap0"):
    return {"UP", "NO-CARRIER"} <= flags(bed, ifname)


def carrier_changes(bed, ifname="tap0"):
    return int(bed.kern.run("cat", f"/sys/class/net/{ifname}/carrier_changes").stdout)


def wait_without(bed, daemon, ifname="tap0"):
    wait_for(lambda: has_none(bed, ifname), f"{ifname} has no carrier")
    status = daemon.port("kernel")
    assert status["up"] and not status["carrier"]
    assert f"{ifname:<15} kernel  no carrier " in daemon.cli("status").stdout


def wait_with(bed, daemon, ifname="tap0"):
    wait_for(lambda: has_carrier(bed, ifname), f"{ifname} has a carrier")
    status = daemon.port("kernel")
    assert status["up"] and status["carrier"]
    assert f"{ifname:<15} kernel  up " in daemon.cli("status").stdout


def delete_uplink(bed):
    bed.host.ip("link del va")


def make_uplink_again(bed):
    bed.host.ip(f"link add va type veth peer name vp netns {bed.peer.name}", "link set va up")
    bed.peer.ip("link set vp up", f"addr add {peer_ip()}/24 dev vp")


WAYS = {
    "peer": (lambda bed: bed.peer.ip("link set vp down"), lambda bed: bed.peer.ip("link set vp up")),
    "itself": (lambda bed: bed.host.ip("link set va down"), lambda bed: bed.host.ip("link set va up")),
    "deleted": (delete_uplink, make_uplink_again),
}


@pytest.mark.kernels
@pytest.mark.parametrize("way", ["peer", "itself", "deleted"])
def test_tap0_loses_its_carrier_with_the_only_uplink_and_gets_it_back(make_bed, way):
    bed = make_bed()
    daemon = bed.start()
    cut, mend = WAYS[way]
    wait_with(bed, daemon)
    for _ in range(2):
        since = len(daemon.log)
        cut(bed)
        wait_without(bed, daemon)
        daemon.wait_log("xbridge: tap0 has no carrier: no uplink has one", since=since)
        mend(bed)
        wait_with(bed, daemon)
        daemon.wait_log("xbridge: tap0 has a carrier again", since=since)
        wait_for(lambda: answers(bed.peer, TAP_IP), "the peer reaches tap0")


def test_one_of_two_uplinks_is_enough(make_bed):
    bed = make_bed(uplinks=2)
    daemon = bed.start()
    changes = carrier_changes(bed)
    for first, second in bed.peers, reversed(bed.peers):
        first.ip("link set vp down")
        wait_for(lambda: sum(daemon.port(name)["up"] for name in bed.uplinks) == 1, "one is down")
        assert has_carrier(bed) and carrier_changes(bed) == changes
        wait_for(lambda peer=second: answers(peer, TAP_IP), "the other reaches tap0")
        second.ip("link set vp down")
        wait_without(bed, daemon)
        first.ip("link set vp up")
        wait_with(bed, daemon)
        second.ip("link set vp up")
        wait_for(lambda: all(daemon.port(name)["up"] for name in bed.uplinks), "both are up")
        changes += 2
        assert carrier_changes(bed) == changes


@pytest.mark.kernels
@pytest.mark.parametrize("uplinks", [0, 1, 2])
def test_at_a_start_the_carrier_does_not_flap(make_bed, uplinks):
    bed = make_bed(uplinks=uplinks)
    daemon = bed.start("--queues", "2")
    wait_with(bed, daemon)
    daemon.cli("port", "set", "kernel", "--queues", "3")
    daemon.stats()
    assert carrier_changes(bed) == 0
    assert not [line for line in daemon.log if "carrier" in line]


@pytest.mark.kernels
def test_an_uplink_without_carrier_at_the_start_gives_none(make_bed):
    bed = make_bed()
    bed.peer.ip("link set vp down")
    daemon = bed.start()
    wait_without(bed, daemon)
    assert carrier_changes(bed) == 1, "it was brought up without"
    bed.peer.ip("link set vp up")
    wait_with(bed, daemon)
    wait_for(lambda: answers(bed.peer, TAP_IP), "the peer reaches tap0")


@pytest.mark.kernels
def test_new_queues_and_a_new_tap_have_no_carrier_either(make_bed):
    """The kernel turns it on with each queue that is opened: a moment later it is off again."""
    bed = make_bed()
    daemon = bed.start()
    bed.peer.ip("link set vp down")
    wait_without(bed, daemon)
    daemon.cli("port", "set", "kernel", "--queues", "2")
    wait_without(bed, daemon)
    daemon.cli("port", "set", "kernel", "--queues", "1")
    wait_without(bed, daemon)
    bed.kern.ip("link del tap0")
    daemon.wait_log("tap0 is back")
    wait_without(bed, daemon)
    bed.peer.ip("link set vp up")
    wait_with(bed, daemon)


@pytest.mark.kernels
def test_a_tap_that_was_handed_in_follows_and_is_given_back_with_a_carrier(make_bed):
    bed = make_bed()
    fds = open_tap(bed.kern, "mytap")
    bed.kern.ip("link set mytap up")
    daemon = bed.start("--tap-fd", str(fds[0]), netns=False, fds=fds, addresses=False)
    wait_with(bed, daemon, "mytap")
    bed.peer.ip("link set vp down")
    wait_without(bed, daemon, "mytap")
    daemon.stop()
    wait_for(lambda: has_carrier(bed, "mytap"), "it has a carrier")
    os.close(fds[0])


def test_a_tap_that_persists_has_no_carrier_while_nobody_serves_it(make_bed):
    """What docs/limits.md says of a restart: addresses and routes stay, the carrier comes back."""
    bed = make_bed()
    daemon = bed.start("--persist")
    try:
        wait_for(lambda: "LOWER_UP" in bed.kern.link("tap0")["flags"], "a carrier")
        daemon.stop()
        flags = bed.kern.link("tap0")["flags"]
        assert "NO-CARRIER" in flags and "LOWER_UP" not in flags
        assert "192.0.2.0/24" in bed.kern.run("ip", "route", "show", "dev", "tap0").stdout
        bed.start("--persist")
        wait_for(lambda: "LOWER_UP" in bed.kern.link("tap0")["flags"], "a carrier again")
        bed.daemon.stop()
    finally:
        bed.kern.ip("link del tap0")
