# SPDX-License-Identifier: BSD-2-Clause
"""An uplink's names: the one that it has, those that it had, and its altnames. The interface stays the same."""

import os
import re
import signal

import pytest

from load import answers
from xbridge import PIN_ROOT, TAP_IP, wait_for

LONG_ALTNAME = "a-name-that-no-interface-may-have"


@pytest.fixture
def bed(make_bed):
    return make_bed()


def rename(bed, old, new):
    bed.host.ip(f"link set {old} down", f"link set {old} name {new}", f"link set {new} up")


def rename_often(bed, *names):
    """Each time to the next name, as fast as it goes, and back to the first at the end."""
    lines = [f"link set {old} name {new}" for old, new in zip(names, [*names[1:], names[0]])]
    bed.host.ip(f"link set {names[0]} down", *(lines * 100), f"link set {names[0]} up")


def give_altnames(bed, *names):
    bed.host.run("ip", "link", "property", "add", "dev", "va", *[word for name in names for word in ("altname", name)])


def works(bed):
    wait_for(lambda: answers(bed.peer, TAP_IP), "the peer reaches tap0")


def test_an_uplink_that_is_renamed_while_it_is_looked_at_is_not_gone(bed):
    daemon = bed.start()
    for _ in range(5):
        rename_often(bed, "va", "wan0", "wan1")
    works(bed)
    assert "is gone" not in daemon.text() and daemon.port("va")["running"]


@pytest.mark.kernels
def test_renamed_uplink_goes_on_and_is_known_by_all_its_names(bed):
    give_altnames(bed, "port-3")
    daemon = bed.start("--rule", "in va proto sctp to drop")
    rename(bed, "va", "wan0")
    daemon.wait_log("uplink va is called wan0 now; rules and commands know it by both names")
    works(bed)
    assert daemon.port("wan0")["running"] and "wan0" in daemon.stats()["ports"]
    for number, name in enumerate(["va", "wan0", "port-3"]):
        daemon.ask("steer", "add", f"in {name} proto {200 + number} to drop")
        daemon.ask("fdb", "add", f"02:00:00:00:00:0{number}", "port", name)
        assert daemon.cli("explain", "in", name, "proto", str(200 + number))
        daemon.ask("steer", "default", name)
    daemon.ask("steer", "default", "bridge")
    statics = {row["mac"]: row["port"] for row in daemon.fdb() if row["kind"] == "static"}
    assert statics == {f"02:00:00:00:00:0{number}": "wan0" for number in range(3)}
    bed.host.ip("link set wan0 mtu 1400")  # its program is put on again
    daemon.wait_log("uplink wan0 has MTU 1400")
    works(bed)
    assert "is gone" not in daemon.text() and "can't be used" not in daemon.text()
    daemon.stop()
    assert "xdp" not in bed.host.link("wan0")


def test_rule_that_names_an_uplink_as_it_was_called_for_a_while_stays_valid(bed):
    daemon = bed.start()
    for old, new in (("va", "wan0"), ("wan0", "wan1")):
        daemon.ask("steer", "add", f"in {old} proto sctp to drop")
        rename(bed, old, new)
        daemon.wait_log(f"uplink {old} is called {new} now")
    daemon.ask("steer", "add", "in wan1 proto sctp to drop")
    rules = [rule["rule"] for rule in daemon.ask("steer", "list")["rules"]]
    assert [re.search("in (\\S+)", rule).group(1) for rule in rules] == ["va", "wan0", "wan1"]


def test_renamed_uplink_that_is_made_again_under_the_name_that_was_given_is_used(bed):
    daemon = bed.start()
    mac = bed.peer.mac("vp")
    rename(bed, "va", "wan0")
    daemon.wait_log("is called wan0 now")
    bed.host.ip("link del wan0")
    daemon.wait_log("uplink wan0 is gone")
    bed.host.ip(f"link add va type veth peer name vp address {mac} netns {bed.peer.name}", "link set va up")
    bed.peer.ip("link set vp up", "addr add 192.0.2.2/24 dev vp")
    daemon.wait_log("uplink va is back")
    works(bed)


def test_interface_that_has_the_index_of_one_that_moved_away_is_not_taken_for_it(bed):
    daemon = bed.start()
    index = bed.host.link("va")["ifindex"]
    bed.host.ip(f"link set va netns {bed.kern.name}")
    daemon.wait_log("uplink va is gone")
    bed.host.ip(f"link add other0 index {index} type veth peer name other1", "link set other0 up")
    uptime = daemon.status()["uptime_s"]
    wait_for(lambda: daemon.status()["uptime_s"] >= uptime + 2, "some looks later")
    assert daemon.port("va")["lost"] and "xdp" not in bed.host.link("other0")
    bed.kern.ip(f"link set va netns {bed.host.name}")
    bed.host.ip("link set va up")
    daemon.wait_log("uplink va is back")
    works(bed)


def test_uplink_given_by_an_altname_is_called_what_it_is_called(bed):
    give_altnames(bed, "port-3")
    daemon = bed.start(uplinks=["port-3,dedicated"])
    assert daemon.port("va")["running"]
    assert daemon.cli("explain", "in", "port-3", "proto", "udp")
    works(bed)


@pytest.mark.parametrize("name", ["va", "wan0", "port-3", LONG_ALTNAME])
def test_detach_knows_an_uplink_by_its_name_that_which_was_given_and_altnames(bed, name):
    give_altnames(bed, "port-3", LONG_ALTNAME)
    daemon = bed.start()
    rename(bed, "va", "wan0")
    daemon.wait_log("is called wan0 now")
    done = daemon.cli("detach", name, named=False, check=False)
    assert done.returncode == 1 and "is running on it" in done.stderr
    daemon.kill(signal.SIGKILL)
    daemon.wait_exit()
    assert "xdp" in bed.host.link("wan0")
    daemon.cli("detach", name, named=False)
    assert "xdp" not in bed.host.link("wan0") and not os.path.exists(f"{PIN_ROOT}/{bed.name}")
    bed.forgive_leftovers = True  # its socket and lock


def test_name_that_another_interface_has_by_now_is_not_the_uplinks_for_detach(bed):
    daemon = bed.start()
    rename(bed, "va", "wan0")
    daemon.wait_log("is called wan0 now")
    bed.host.ip("link add other0 type veth peer name va")
    daemon.kill(signal.SIGKILL)
    daemon.wait_exit()
    daemon.cli("detach", "va", named=False)  # no program of ours is on that one: the name that was given
    assert "xdp" not in bed.host.link("wan0")
    assert daemon.cli("detach", "other0", named=False, check=False).returncode == 1
    bed.forgive_leftovers = True
