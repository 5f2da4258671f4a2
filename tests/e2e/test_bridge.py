# SPDX-License-Identifier: BSD-2-Clause
"""The bridge: who is learned where, what is not believed, and what is not passed on.

    kern: tap0 ◄── xbridge ──► va ◄── veth ──► vp :peer
                     ▲───────► vb ◄── veth ──► vp :peer2
"""

import contextlib
import os
import re
import time

import pytest

from traffic import Wire, ether
from xbridge import TAP_IP, difference, drops, wait_for

STRANGER = "02:00:00:00:77:01"  # nobody has it
OTHER = "02:00:00:00:77:02"


class Ends:
    """Packet sockets on all three interfaces behind the bridge."""

    def __init__(self, bed, stack):
        self.bed = bed
        self.tap = stack.enter_context(Wire(bed.kern, "tap0"))
        self.one = stack.enter_context(Wire(bed.peers[0], "vp"))
        self.two = stack.enter_context(Wire(bed.peers[1], "vp"))
        self.tap.mac = bed.kern.mac("tap0")
        self.one.mac, self.two.mac = (peer.mac("vp") for peer in bed.peers)
        self.before = bed.daemon.rest()
        for wire in self.tap, self.one, self.two:
            wire.drain()

    def pass_on(self, frame, sender):
        """Sends a frame; returns which of the ends got it unchanged, once all is at rest, and checks that nobody got
        it changed or twice."""
        before = self.seen()
        sender.send(frame)
        wait_for(lambda: self.seen() > before, "it has come in")
        self.bed.daemon.rest()
        got = set()
        for name in "tap", "one", "two":
            frames = [found for found in getattr(self, name).drain() if frame[14:] in found]
            assert frames in ([], [frame]), name
            if frames:
                got.add(name)
        return got

    def seen(self):
        """Frames that have come in, or were dropped or passed before."""
        ports = self.bed.daemon.stats()["ports"].values()
        return sum(port["rx_packets"] + sum(port.get("xdp", {}).values()) for port in ports)

    def dropped(self, port):
        """What a port has dropped since the test began."""
        return drops(difference(self.bed.daemon.rest(), self.before), port)


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed(uplinks=2, quiet=True)
    bed.start()
    return bed


@pytest.fixture
def ends(bed):
    bed.daemon.ask("fdb", "flush")
    with contextlib.ExitStack() as stack:
        yield Ends(bed, stack)


def payload():
    return os.urandom(60)


def learn(ends):
    """Each end says something to nobody, so that all are known."""
    for wire in ends.tap, ends.one, ends.two:
        ends.pass_on(ether(STRANGER, wire.mac, payload()), wire)


def rows(bed, **wanted):
    return [row for row in bed.daemon.fdb() if all(row[name] == value for name, value in wanted.items())]


# ---- learning and forwarding ----

def test_frames_to_an_unknown_address_reach_everybody_else(ends):
    assert ends.pass_on(ether(STRANGER, ends.one.mac, payload()), ends.one) == {"tap", "two"}
    assert ends.pass_on(ether(STRANGER, ends.tap.mac, payload()), ends.tap) == {"one", "two"}


@pytest.mark.parametrize("group", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:09", "33:33:00:00:00:09", "01:80:c2:00:00:10"])
def test_group_frames_reach_everybody_else(ends, group):
    assert ends.pass_on(ether(group, ends.one.mac, payload()), ends.one) == {"tap", "two"}
    assert ends.pass_on(ether(group, ends.tap.mac, payload()), ends.tap) == {"one", "two"}


def test_frames_to_a_known_address_reach_its_port_alone(ends):
    learn(ends)
    assert ends.pass_on(ether(ends.two.mac, ends.one.mac, payload()), ends.one) == {"two"}
    assert ends.pass_on(ether(ends.one.mac, ends.two.mac, payload()), ends.two) == {"one"}
    assert ends.pass_on(ether(ends.tap.mac, ends.one.mac, payload()), ends.one) == {"tap"}
    assert ends.pass_on(ether(ends.two.mac, ends.tap.mac, payload()), ends.tap) == {"two"}


def test_a_sender_that_moves_is_found_at_its_new_port(bed, ends):
    ends.pass_on(ether(STRANGER, OTHER, payload()), ends.one)
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload()), ends.tap) == {"one"}
    ends.pass_on(ether(STRANGER, OTHER, payload()), ends.two)
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload()), ends.tap) == {"two"}
    assert [row["port"] for row in rows(bed, mac=OTHER)] == ["vb"]


def test_each_vlan_has_addresses_of_its_own(bed, ends):
    ends.pass_on(ether(STRANGER, OTHER, payload(), tags=(5,)), ends.one)
    ends.pass_on(ether(STRANGER, OTHER, payload(), tags=(6,)), ends.two)
    assert {(row["vlan"], row["port"]) for row in rows(bed, mac=OTHER)} == {(5, "va"), (6, "vb")}
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload(), tags=(5,)), ends.tap) == {"one"}
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload(), tags=(6,)), ends.tap) == {"two"}
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload()), ends.tap) == {"one", "two"}


def test_a_frame_to_where_it_came_from_stays_there_and_is_counted(ends):
    learn(ends)
    ends.pass_on(ether(STRANGER, OTHER, payload()), ends.one)
    assert ends.pass_on(ether(OTHER, ends.one.mac, payload()), ends.one) == set()
    assert ends.dropped("va") == {"hairpin": 1}


# ---- the table ----

def test_a_static_entry_neither_moves_nor_goes_with_a_flush(bed, ends):
    bed.daemon.cli("fdb", "add", OTHER, "port", "va")
    (row,) = rows(bed, mac=OTHER)
    assert (row["port"], row["kind"], row["vlan"]) == ("va", "static", 0)
    bed.daemon.cli("fdb", "flush")
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload()), ends.tap) == {"one"}
    assert ends.pass_on(ether(STRANGER, OTHER, payload()), ends.two) == set(), "a sender that pretends to be it"
    assert ends.dropped("vb") == {"smac_taken": 1}
    assert ends.pass_on(ether(STRANGER, OTHER, payload()), ends.one) == {"tap", "two"}, "the true one"
    bed.daemon.cli("fdb", "del", OTHER)
    assert not rows(bed, mac=OTHER)


def test_a_static_entry_holds_in_its_vlan_alone(bed, ends):
    bed.daemon.cli("fdb", "add", OTHER, "port", "vb", "vlan", "9")
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload(), tags=(9,)), ends.tap) == {"two"}
    assert ends.pass_on(ether(OTHER, ends.tap.mac, payload()), ends.tap) == {"one", "two"}
    bed.daemon.cli("fdb", "del", OTHER, "vlan", "9")


def test_flush_of_a_port_forgets_that_port_alone(bed, ends):
    learn(ends)
    assert rows(bed, mac=ends.one.mac) and rows(bed, mac=ends.two.mac)
    bed.daemon.cli("fdb", "flush", "va")
    assert not rows(bed, mac=ends.one.mac) and rows(bed, mac=ends.two.mac)


def test_list_tells_how_long_ago_a_sender_was_seen(bed, ends):
    ends.pass_on(ether(STRANGER, OTHER, payload()), ends.one)
    assert rows(bed, mac=OTHER)[0]["age_s"] <= 1
    wait_for(lambda: rows(bed, mac=OTHER)[0]["age_s"] >= 2, "it is two seconds ago")
    ends.pass_on(ether(STRANGER, OTHER, payload()), ends.one)
    assert rows(bed, mac=OTHER)[0]["age_s"] <= 1
    text = bed.daemon.cli("fdb", "list").stdout
    assert re.search(rf"{OTHER}\b.*\bva\b.*\blearned", text)


@pytest.mark.long
def test_a_sender_not_seen_for_300_s_is_forgotten(bed, ends):
    bed.daemon.cli("fdb", "add", STRANGER, "port", "va")
    began = time.monotonic()
    ends.pass_on(ether("02:00:00:00:77:03", OTHER, payload()), ends.one)
    wait_for(lambda: not rows(bed, mac=OTHER), "it is forgotten", 310)
    assert time.monotonic() - began > 298
    assert rows(bed, mac=STRANGER), "a static entry stays"
    bed.daemon.cli("fdb", "del", STRANGER)


@pytest.mark.parametrize("words, status, says", [
    (["add", OTHER, "port", "nobody"], 1, "nobody"),
    (["add", OTHER], 2, "port NAME"),
    (["add", "ff:ff:ff:ff:ff:ff", "port", "va"], 2, "group address"),
    (["add", "hello", "port", "va"], 2, "MAC address"),
    (["add", OTHER, "port", "va", "vlan", "4095"], 2, "4094"),
    (["del", "02:00:00:00:77:99"], 1, "02:00:00:00:77:99"),
])
def test_a_change_of_the_table_that_makes_no_sense_is_refused(bed, words, status, says):
    before = bed.daemon.fdb()
    done = bed.daemon.cli("fdb", *words, check=False)
    assert done.returncode == status and says in done.stderr
    assert [row["mac"] for row in bed.daemon.fdb()] == [row["mac"] for row in before]


def test_the_ports_own_addresses_can_not_be_given_away(bed):
    for port, mac in ("va", bed.kern.mac("tap0")), ("tap0", bed.host.mac("va")):
        assert bed.daemon.cli("fdb", "add", mac, "port", port, check=False).returncode == 1
        assert bed.daemon.cli("fdb", "del", mac, check=False).returncode == 1
    assert {row["mac"] for row in rows(bed, kind="own")} == {bed.kern.mac("tap0"), bed.host.mac("va"), bed.host.mac("vb")}


# ---- what is not believed ----

@pytest.mark.parametrize("whose", ["tap0", "va", "vb"])
@pytest.mark.parametrize("tags", [(), (7,)], ids=["untagged", "tagged"])
def test_a_sender_with_an_address_of_ours_is_dropped_and_counted(bed, ends, whose, tags):
    mac = bed.kern.mac("tap0") if whose == "tap0" else bed.host.mac(whose)
    assert ends.pass_on(ether(STRANGER, mac, payload(), tags=tags), ends.one) == set()
    assert ends.pass_on(ether("ff:ff:ff:ff:ff:ff", mac, payload(), tags=tags), ends.one) == set()
    assert ends.dropped("va") == {"smac_taken": 2}
    assert ends.pass_on(ether(ends.tap.mac, ends.one.mac, payload(), tags=tags), ends.one) == {"tap"}, "nothing moved"


def test_the_kernel_behind_tap0_may_not_use_an_uplinks_address(bed, ends):
    assert ends.pass_on(ether(STRANGER, bed.host.mac("va"), payload()), ends.tap) == set()
    assert ends.dropped("tap0") == {"smac_taken": 1}


def test_a_group_address_as_sender_is_dropped_and_counted(ends):
    assert ends.pass_on(ether(STRANGER, "03:00:00:00:00:01", payload()), ends.one) == set()
    assert ends.dropped("va") == {"smac_group": 1}


def test_the_uplinks_own_stack_gets_what_is_sent_to_it(bed, ends):
    with Wire(bed.host, "va") as own:
        frame = ether(bed.host.mac("va"), ends.one.mac, payload())
        assert ends.pass_on(frame, ends.one) == set()
        assert own.drain() == [frame]


# ---- what is not passed on ----

@pytest.mark.parametrize("last", range(16))
def test_link_local_protocols_are_not_passed_on(ends, last):
    for sender, port in (ends.one, "va"), (ends.tap, "tap0"):
        frame = ether(f"01:80:c2:00:00:{last:02x}", sender.mac, payload(), ethertype=0x8808 if last == 1 else 0x88B5)
        assert ends.pass_on(frame, sender) == set()
        assert ends.dropped(port) == {"reserved": 1}


# ---- storms ----

@pytest.mark.parametrize("port", ["va", pytest.param("tap0", marks=pytest.mark.kernels)])
def test_group_frames_beyond_a_ports_storm_limit_are_dropped_and_counted(bed, ends, port):
    """Only those: unicast, and what other ports send, is not touched."""
    learn(ends)
    stormy, other, other_port = (ends.one, ends.tap, "tap0") if port == "va" else (ends.tap, ends.one, "va")
    groups = [ether("ff:ff:ff:ff:ff:ff", stormy.mac, payload()) for _ in range(30)]
    unicasts = [ether(other.mac, stormy.mac, payload()) for _ in range(30)]
    others = [ether("01:00:5e:00:00:09", other.mac, payload()) for _ in range(30)]
    bed.daemon.cli("port", "set", port, "--storm", "10")  # one each tenth of a second, none ahead
    try:
        assert bed.daemon.port(port)["storm_pps"] == 10
        for group, unicast in zip(groups, unicasts):
            stormy.send(group, unicast)
        other.send(*others)
        bed.daemon.rest()
        got = other.drain()
        arrived = [frame for frame in got if frame in groups]
        assert 1 <= len(arrived) < 20
        assert [frame for frame in got if frame in unicasts] == unicasts
        assert [frame for frame in ends.two.drain() if frame in groups] == arrived
        assert [frame for frame in stormy.drain() if frame in others] == others
        assert ends.dropped(port) == {"storm": 30 - len(arrived)} and not ends.dropped(other_port)
    finally:
        bed.daemon.cli("port", "set", port, "--storm", "0")
    stormy.send(*groups)
    bed.daemon.rest()
    assert [frame for frame in other.drain() if frame in groups] == groups, "no limit any more"


# ---- odd frames ----

@pytest.mark.parametrize("size", [0, 1, 45, 46])
def test_short_frames_cross_unharmed(ends, size):
    learn(ends)
    for sender, receiver, name in (ends.one, ends.tap, "tap"), (ends.tap, ends.one, "one"):
        frame = ether(receiver.mac, sender.mac, os.urandom(size))
        sender.send(frame)
        got = receiver.expect(frame)
        # a driver may pad to the least that Ethernet allows
        assert got.rstrip(b"\0") == frame.rstrip(b"\0") and len(got) <= max(len(frame), 60), name


@pytest.mark.parametrize("tags", [(1, 2, 3), ((0x88A8, 1), (0x88A8, 2), 3), (1, 2, 3, 4, 5, 6, 7)], ids=str)
def test_frames_with_many_tags_cross_unharmed(ends, tags):
    learn(ends)
    for sender, name in (ends.one, "tap"), (ends.tap, "two"):
        receiver = getattr(ends, name)
        ends.pass_on(ether(STRANGER, receiver.mac, payload(), tags=tags), receiver)
        frame = ether(receiver.mac, sender.mac, payload(), tags=tags)
        assert ends.pass_on(frame, sender) == {name}


@pytest.mark.parametrize("tail", [b"\x81\x00", b"\x81\x00\x00", b"\x81\x00\x00\x07", b"\x88\xa8\x00\x07\x81"], ids=bytes.hex)
def test_a_tag_that_is_cut_off_does_no_harm(bed, ends, tail):
    frame = bytes.fromhex("ffffffffffff" + ends.one.mac.replace(":", "")) + tail
    with Wire(bed.peers[0], "vp") as out:
        out.send(frame)
    bed.daemon.rest()
    bed.peer.run("ping", "-c", "1", "-W", "10", TAP_IP)


@pytest.mark.parametrize("ethertype, body", [
    (0x0800, b""), (0x0800, b"\x4f" + bytes(19)), (0x0800, b"\x45\x00\xff\xff" + bytes(16)), (0x0800, b"\x40" + bytes(40)),
    (0x86DD, b"\x60" + bytes(5)), (0x86DD, b"\x60\x00\x00\x00\xff\xff\x06\x40" + bytes(32)),
    (0x0800, bytes.fromhex("450000281234000040060000c0000202c0000201") + bytes(4)),
    (0x0800, bytes.fromhex("450000300000200040060000c0000202c0000201") + bytes(28)),
], ids=str)
def test_broken_headers_cross_or_are_counted_and_do_no_harm(bed, ends, ethertype, body):
    for sender, receiver in (ends.one, ends.tap), (ends.tap, ends.one):
        sender.send(ether(receiver.mac, sender.mac, body, ethertype=ethertype))
    bed.daemon.rest()
    bed.peer.run("ping", "-c", "1", "-W", "10", TAP_IP)
