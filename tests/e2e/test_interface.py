# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's interface is an interface like any other: people move it, make it beforehand, give it other addresses."""

import pytest

from load import answers
from xbridge import TAP_IP, wait_for


@pytest.fixture
def bed(make_bed):
    """Two uplinks: a third namespace to move to is that of the second peer."""
    return make_bed(uplinks=2)


def taps(bed):
    """How many queues each TAP has, by the namespace in which it lies."""
    found = {}
    for ns in bed.namespaces:
        link = ns.link("tap0")
        if link:
            found[ns.name] = link["linkinfo"]["info_data"]["numqueues"]
    return found


# ---- moved to another namespace ----

@pytest.mark.vm
@pytest.mark.parametrize("target", ["host", "peer"])
def test_queues_are_added_where_tap0_lies_after_it_was_moved(bed, target):
    daemon = bed.start()
    there = bed.host if target == "host" else bed.peers[1]
    bed.kern.ip(f"link set tap0 netns {there.name}")
    daemon.ask("port", "set", "kernel", "--queues", "4")
    assert taps(bed) == {there.name: 4}, "and none where it was"
    there.ip("link set tap0 up", f"addr add {TAP_IP}/24 dev tap0")
    wait_for(lambda: answers(bed.peers[0], TAP_IP), "tap0 answers where it lies now")
    daemon.ask("port", "set", "kernel", "--queues", "1")
    assert taps(bed) == {there.name: 1}
    daemon.wait_log("tap0 lies in another network namespace now$")
    daemon.rest()
    daemon.stop()
    assert not taps(bed)


def test_mtu_of_tap0_is_seen_and_set_where_it_lies_and_not_on_its_namesake(bed):
    daemon = bed.start()
    bed.kern.ip(f"link set tap0 netns {bed.host.name}", "link add tap0 mtu 1234 type veth peer name other")
    bed.host.ip("link set tap0 up mtu 1400")
    daemon.wait_log("tap0 has MTU 1400 now")
    bed.host.ip("link set tap0 mtu 1500")
    daemon.wait_log("tap0 has MTU 1500 now")
    bed.host.ip("link set va mtu 1300")
    wait_for(lambda: bed.host.link("tap0")["mtu"] == 1300, "tap0 follows the uplink")
    assert bed.kern.link("tap0")["mtu"] == 1234
    bed.kern.ip("link del tap0")


def test_without_netns_more_queues_of_a_tap0_that_was_moved_away_are_refused_with_the_remedy(make_bed):
    bed = make_bed(tap_in_host=True)
    daemon = bed.start()
    bed.host.ip(f"link set tap0 netns {bed.peer.name}")
    daemon.wait_log("tap0 lies in another network namespace now, where xbridge can't go.*--netns")
    done = daemon.cli("port", "set", "kernel", "--queues", "4", check=False)
    assert done.returncode == 1 and "tap0" in done.stderr and "--netns" in done.stderr
    assert taps(bed) == {bed.peer.name: 1}
