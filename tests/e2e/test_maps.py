# SPDX-License-Identifier: BSD-2-Clause
"""The pinned maps: what bpftool shows is what their reference names, and what xbridge itself says.

    kern: tap0 ◄── xbridge ──► va :host
                     ▲  ▲       ▲
                     │  └── vb  └── veth ──► vp :peer        vb ──► vp :peer2
                     └ its maps, in bpffs
"""

import collections
import json
import os
import re
import subprocess
import threading
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from pins import bpftool, by_key, described, mac, rule_hits
from traffic import Wire, ether
from xbridge import PATIENCE, PIN_ROOT, ROOT, TAP_IP, scaled, wait_for

STALL_MS = 3000
FROM, TO = "02:00:00:00:88:01", "02:00:00:00:88:99"  # nobody has either
MIRROR_S = 1
SECOND_NS, MS_NS = 10 ** 9, 10 ** 6
LATE_NS = 200 * PATIENCE * MS_NS  # as much later may a thread that has something to do each second come to it


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed(uplinks=2, quiet=True)
    bed.start("--stall-ms", str(STALL_MS))
    return bed


def slots(bed):
    """Interface index → slot, of the uplinks."""
    return {config["ifindex"]: slot for slot, config in by_key(bed, "config").items() if config["schema"]}


# ---- the reference ----

@pytest.mark.kernels
@pytest.mark.parametrize("name", described())
def test_a_map_shows_the_fields_that_the_page_names(bed, daemon, name):
    daemon.ask("steer", "add", "to", "drop")
    rows = bpftool(bed, name)
    parts = described()[name]
    assert rows
    for row in rows:
        for part, shown in ("key", [row["key"]]), ("value", [each["value"] for each in row.get("values", [row])]):
            for one in shown:
                fields = parts[part]
                assert isinstance(one, int) if fields is None else fields == {
                    field: set(value) if fields.get(field) else set() for field, value in one.items()}


def test_the_page_names_the_maps_that_are_there(bed):
    pinned = os.listdir(f"{PIN_ROOT}/{bed.name}")
    assert set(pinned) == {*described(), "internal"}


# ---- rules and counters ----

def test_rules_and_counters_are_those_of_steer_list(bed, daemon):
    n = scaled(4096)
    daemon.ask("steer", "load", "".join(f"src 10.{i >> 8}.{i & 255}.0/24 proto udp dport {i} to drop\n" for i in range(n)))
    sent = [0, 1, 1, n - 1, n - 1, n - 1]
    with Wire(bed.peer, "vp") as wire:
        wire.send(*(bytes(Ether(src=FROM, dst=TO) / IP(src=f"10.{i >> 8}.{i & 255}.9") / UDP(dport=i)) for i in sent))
    rules = wait_for(lambda: (listed := daemon.ask("steer", "list", "-s")["rules"]) and
                     sum(rule["packets"] for rule in listed) == len(sent) and listed, "the frames are counted")
    shown, hits = by_key(bed, "rules"), rule_hits(bed)
    for i, rule in enumerate(rules):
        slot = rule["slot"]
        assert (shown[slot]["id"], shown[slot]["prio"], shown[slot]["verdict"]) == (rule["id"], rule["prio"], "drop")
        assert (shown[slot]["src"]["addr"][:4], shown[slot]["src"]["bits"]) == ([10, i >> 8, i & 255, 0], 24)
        assert (shown[slot]["proto"], shown[slot]["dport"]) == (17, {"first": i, "last": i})
        assert (hits[slot]["packets"], hits[slot]["bytes"]) == (rule["packets"], rule["bytes"])
        assert hits[slot]["packets"] == sent.count(i)
        assert bool(hits[slot]["last_ns"]) == (rule["last_hit_ms"] is not None) == (i in sent)
    assert sum(1 for rule in shown.values() if rule["id"]) == n
    assert sum(row["packets"] for row in hits.values()) == len(sent)


@pytest.mark.kernels
def test_the_age_of_a_hit_is_that_of_the_map_and_grows(bed, daemon):
    """Of a rule that the program asks, and of one that userspace does. When a rule was hit is known to a second."""
    daemon.ask("steer", "load", "in va proto udp to drop\nin kernel proto udp to drop\n")
    assert [rule["last_hit_ms"] for rule in daemon.ask("steer", "list", "-s")["rules"]] == [None, None]
    data = bytes(Ether(src=FROM, dst=TO) / IP(src="198.51.100.1", dst="198.51.100.2") / UDP() / bytes(30))
    sending = time.monotonic_ns()
    with Wire(bed.peer, "vp") as wire, Wire(bed.kern, "tap0") as tap:
        wire.send(data)
        tap.send(data)
    wait_for(lambda: all(rule["packets"] for rule in daemon.ask("steer", "list", "-s")["rules"]), "both are hit")
    hit = time.monotonic_ns()

    def look():
        """Each rule's age and when it was told, at the earliest and at the latest."""
        early = time.monotonic_ns()
        listed = json.loads(daemon.cli("steer", "list", "-s", "--json").stdout)["rules"]
        late = time.monotonic_ns()
        last = [rule_hits(bed)[rule["slot"]]["last_ns"] for rule in listed]
        for rule, last_ns in zip(listed, last):
            assert sending - SECOND_NS - LATE_NS <= last_ns <= hit
            assert early - last_ns - MS_NS <= rule["last_hit_ms"] * MS_NS <= late - last_ns
        return [rule["last_hit_ms"] for rule in listed]
    first = look()
    wait_for(lambda: time.monotonic_ns() - hit > SECOND_NS, "a second passes")
    second = look()
    assert all(now >= 1000 and now > before for now, before in zip(second, first))


@pytest.mark.kernels
def test_verdict_stats_are_those_of_stats(bed, daemon):
    daemon.ask("steer", "load", "proto udp dport 1 to drop\nproto udp dport 2 to pass\nproto udp dport 3 to kernel\n"
                                "proto udp dport 4 to kernel limit 1:2\n")
    frames = [bytes(Ether(src=FROM, dst=dst) / IP(src="198.51.100.1", dst="198.51.100.2") / layer)
              for layer in (*(UDP(dport=i) for i in range(1, 5)), TCP()) for dst in (TO, bed.host.mac("va"))]
    with Wire(bed.peer, "vp") as wire:
        wire.send(*frames * 3)
    stats = daemon.rest()["ports"]
    shown = {row["key"]: row["values"] for row in bpftool(bed, "verdict_stats")}
    for uplink in bed.uplinks:
        sums = collections.Counter()
        for cpu in shown[slots(bed)[bed.host.link(uplink)["ifindex"]]]:
            sums.update(cpu["value"])
        assert dict(sums) == stats[uplink]["xdp"]
    assert all(stats["va"]["xdp"][name] for name in ("pass_verdict", "pass_own", "redirect", "drop", "limit"))


# ---- what the programs know ----

@pytest.mark.kernels
def test_table_and_config_are_what_the_daemon_was_told(bed, daemon):
    daemon.ask("steer", "add", "to", "drop")
    daemon.ask("steer", "default", "kernel")
    with open(os.path.join(ROOT, "include/xbridge/steer.h"), encoding="utf-8") as file:
        schema = int(re.search(r"#define XB_SCHEMA +(\d+)u", file.read())[1])
    configs = by_key(bed, "config")
    used = {config["ifindex"]: config for config in configs.values() if config["schema"]}
    ports = {row["value"]["port"]: row["value"]["port_id"] for row in bpftool(bed, "fdb")}
    assert len(used) == len(bed.uplinks)
    for uplink in bed.uplinks:
        config = used[bed.host.link(uplink)["ifindex"]]
        assert (config["schema"], config["shared"]) == (schema, 0)
        assert (config["port"], config["stall_ns"]) == (ports[uplink], STALL_MS * 1000000)
        assert config["ifname"] == uplink
    unused = {tuple(config.values()) for config in configs.values()} - {tuple(c.values()) for c in used.values()}
    assert unused == {(0,) * 5 + ("",)}
    in_force = by_key(bed, "table")[0]["in_force"]
    assert (in_force["n_rules"], in_force["verdict"]) == (1, 16 + ports["tap0"])


def test_one_rule_fits_on_a_screen(bed, daemon):
    daemon.ask("steer", "add", *"prio 7 in va,vb vlan 5 smac 02:00:00:00:00:01 dmac kernel proto tcp src 2001:db8::/32 "
               "dport 179 to drop comment why".split())
    shown = subprocess.run(bed.in_host("bpftool", "map", "dump", "pinned", f"{PIN_ROOT}/{bed.name}/rules"), check=True,
                           capture_output=True, text=True).stdout
    assert len(shown.splitlines()) <= 60, shown
    assert [row["value"]["in"] for row in bpftool(bed, "rules")] == ["va,vb"]
    daemon.ask("steer", "flush")
    assert not bpftool(bed, "rules")


@pytest.mark.kernels
def test_own_macs_are_those_of_the_uplinks(bed):
    own = {(mac(row["key"]["mac"]), row["key"]["slot"]): row["value"] for row in bpftool(bed, "own_macs")}
    links = [bed.host.link(uplink) for uplink in bed.uplinks]
    assert own == {(link["address"], slots(bed)[link["ifindex"]]): link["ifindex"] for link in links}


# ---- the forwarding table ----

KINDS = {"XB_FDB_LEARNED": "learned", "XB_FDB_STATIC": "static", "XB_FDB_OWN": "own"}


def shown_fdb(bed):
    """The map as `fdb list` would have it, without ages."""
    rows = {}
    for row in bpftool(bed, "fdb"):
        vlan = row["key"]["vlan"]
        rows[mac(row["key"]["mac"]), "any" if vlan == 4095 else vlan] = (row["value"]["port"], KINDS[row["value"]["kind"]])
    return rows


def listed_fdb(bed):
    return {(row["mac"], row["vlan"]): (row["port"], row["kind"]) for row in bed.daemon.fdb()}


def wait_mirrored(bed):
    """The map catches up within a second, and what bpftool takes."""
    wait_for(lambda: shown_fdb(bed) == listed_fdb(bed), "the map is what `fdb list` says", MIRROR_S + 0.3)


def say(bed, peer, *frames):
    with Wire(peer, "vp") as wire:
        wire.send(*frames)
    bed.daemon.rest()


@pytest.fixture
def flushed(bed):
    bed.daemon.ask("fdb", "flush")
    wait_mirrored(bed)


@pytest.mark.vm
@pytest.mark.usefixtures("flushed")
def test_fdb_is_what_fdb_list_says(bed):
    assert set(shown_fdb(bed).values()) == {("tap0", "own"), ("va", "own"), ("vb", "own")}
    # learned, in two VLANs
    say(bed, bed.peers[0], ether(TO, FROM, bytes(46)), ether(TO, FROM, bytes(46), tags=(7,)))
    assert listed_fdb(bed)[FROM, 7] == ("va", "learned")
    wait_mirrored(bed)
    # moved
    say(bed, bed.peers[1], ether(TO, FROM, bytes(46)))
    assert listed_fdb(bed)[FROM, 0] == ("vb", "learned")
    wait_mirrored(bed)
    # set by a person, over what was learned too
    for words in ([FROM, "port", "va"], [TO, "port", "tap0", "vlan", "4094"]):
        bed.daemon.ask("fdb", "add", *words)
    assert listed_fdb(bed)[FROM, 0] == ("va", "static")
    wait_mirrored(bed)
    bed.daemon.ask("fdb", "del", TO, "vlan", "4094")
    bed.daemon.ask("fdb", "flush")
    bed.daemon.ask("fdb", "del", FROM)
    assert len(listed_fdb(bed)) == 3
    wait_mirrored(bed)


@pytest.mark.usefixtures("flushed")
def test_fdb_says_when_a_sender_was_seen_last(bed):
    def uptime_s():
        return int(time.clock_gettime(time.CLOCK_MONOTONIC))

    def seen_s():
        return next((row["value"]["seen_s"] for row in bpftool(bed, "fdb") if mac(row["key"]["mac"]) == FROM), 0)
    before = 0
    for _ in range(2):
        wait_for(lambda: uptime_s() > before + 1, "a later second has come")  # pylint: disable=cell-var-from-loop
        saying = uptime_s()
        say(bed, bed.peers[0], ether(TO, FROM, bytes(46)))
        wait_for(lambda: seen_s() > before, "it has been seen again")  # pylint: disable=cell-var-from-loop
        before = seen_s()
        assert saying - 1 <= before <= uptime_s()
    assert all(bool(row["value"]["seen_s"]) == (row["value"]["kind"] == "XB_FDB_LEARNED") for row in bpftool(bed, "fdb"))


def stations(start, n):
    return [f"02:00:00:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" for i in range(start, start + n)]


@pytest.mark.kernels
@pytest.mark.usefixtures("flushed")
def test_an_entry_that_stays_is_never_missing_from_a_dump(bed):
    """While others come and go, and those that stay are seen again."""
    staying, others = stations(0x10000, scaled(1000, 50)), stations(0x20000, scaled(2000, 50))
    stay, come = ([ether(TO, one, bytes(46)) for one in many] for many in (staying, others))
    say(bed, bed.peers[0], *stay)
    wait_for(lambda: {(one, 0) for one in staying} <= set(shown_fdb(bed)), "those that stay are shown")
    done = threading.Event()

    def change():
        with Wire(bed.peers[0], "vp") as one, Wire(bed.peers[1], "vp") as two:
            while not done.is_set():
                one.send(*stay)
                two.send(*come)
                done.wait(0.3)
                bed.daemon.ask("fdb", "flush", "vb")
                done.wait(0.3)
    changing = threading.Thread(target=change)
    changing.start()
    try:
        missing, there = set(), set()
        for _ in range(scaled(100, 10)):
            shown = shown_fdb(bed)
            missing |= {one for one in staying if (one, 0) not in shown}
            there.add((others[0], 0) in shown)
    finally:
        done.set()
        changing.join()
    assert not missing
    assert there == {False, True}


@pytest.mark.kernels
def test_what_a_killed_daemon_has_left_in_fdb_goes_with_the_next_start(make_bed):
    bed = make_bed(quiet=True)
    daemon = bed.start()
    say(bed, bed.peer, ether(TO, FROM, bytes(46)))
    wait_mirrored(bed)
    daemon.kill()
    daemon.wait_exit()
    assert shown_fdb(bed)[FROM, 0] == ("va", "learned")
    bed.start().wait_log("took over the maps")
    assert (FROM, 0) not in shown_fdb(bed)
    wait_mirrored(bed)
    bed.daemon.stop()
    assert not os.path.exists(f"{PIN_ROOT}/{bed.name}")
