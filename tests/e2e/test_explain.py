# SPDX-License-Identifier: BSD-2-Clause
"""`explain`: what it says of a frame is what the wire then does, and nothing counts."""

import collections
import contextlib
import json
import struct
import subprocess
import time

import pytest
from scapy.layers.inet import TCP, UDP

from pins import bpftool, mac
from steer import CASES, Ends, frame, marked, marks
from traffic import Wire
from xbridge import difference, interesting, wait_for

STRANGER, NEIGHBOUR = "02:00:00:00:66:77", "02:00:00:00:66:07"  # who never sends; who is behind vb
LAST = "02:00:00:00:66:ff"  # whose entry tells that those before it are written

RULES = """
prio 40000 proto sctp to drop
vlan 7 to drop
ethertype arp to pass
src 198.51.100.0/31 proto udp dport 1-60 to kernel limit 100000
tcp-flags syn/syn,ack to kernel
proto icmp icmp-type 8 to pass
dst 2001:db8:2::2 to kernel
dscp 46 to pass
frag later to drop
dport 80 to bridge
"""


def write_pcap(path, frames, linktype=1):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, linktype))
        for number, data in enumerate(frames):
            file.write(struct.pack("<IIII", number, 0, len(data), len(data)) + data)


def explain_file(daemon, path, *words):
    return json.loads(daemon.cli("explain", "pcap", str(path), *words, "--json").stdout)["packets"]


def arrivals(packet, everywhere):
    """Where a frame arrives, by what was said of it."""
    if packet["verdict"] == "pass":
        return {"pass"} | (arrivals(packet["copy"], everywhere) if "copy" in packet else set())
    if packet["verdict"] == "drop" or "drop" in packet:
        return set()
    if "passes" in packet:
        return {"pass"}
    return set(everywhere) if packet["to"] == "all" else {{"tap0": "kernel"}.get(packet["to"], packet["to"])}


def met_by(packet):
    """The rules that a frame meets, by what was said of it, and how often: what the stack has is not asked for, its copy is."""
    return {each["rule"]: 1 for each in (packet, packet.get("copy", {})) if "rule" in each}


def met(daemon):
    return collections.Counter({rule["id"]: rule["packets"] for rule in daemon.ask("steer", "list", "-s")["rules"]})


def mirrored(bed):
    """The forwarding table as it is pinned, once it is what `fdb list` says: what was learned, and when it was seen last."""
    def same():
        shown = {(mac(row["key"]["mac"]), row["key"]["vlan"]): (row["value"]["port"], row["value"]["seen_s"])
                 for row in bpftool(bed, "fdb")}
        listed = {(row["mac"], {"any": 4095}.get(row["vlan"], row["vlan"])): row["port"] for row in bed.daemon.fdb()}
        return {place: port for place, (port, _) in shown.items()} == listed and shown
    return wait_for(same, "the map is what `fdb list` says")


def wait_mirror(bed):
    """Waits until all that the forwarding table knows now is in its map: as what is told to it now."""
    bed.daemon.ask("fdb", "add", LAST, "port", "va")
    wait_for(lambda: LAST in {mac(row["key"]["mac"]) for row in bpftool(bed, "fdb")}, "the map is written")
    bed.daemon.ask("fdb", "del", LAST)


def counters(bed):
    """All that counts, or remembers."""
    dumps = [subprocess.run(bed.in_host("bpftool", "-j", "map", "dump", "pinned", f"/sys/fs/bpf/xbridge/{bed.name}/{name}"),
                            check=True, capture_output=True, text=True).stdout
             for name in ("rule_stats", "rule_stats_user", "verdict_stats", "internal/rule_limits")]
    return dumps, interesting(bed.daemon.rest()), met(bed.daemon), mirrored(bed)


def explained(bed, path, frames, *words):
    """What `explain` says of frames, and of one that comes from a stranger. It counts nothing and learns nothing, neither
    whom it has never seen nor that somebody was seen again."""
    write_pcap(path, [*frames, frame(UDP(), src=STRANGER)])
    seen_s = int(time.clock_gettime(time.CLOCK_MONOTONIC))
    wait_for(lambda: int(time.clock_gettime(time.CLOCK_MONOTONIC)) > seen_s + 1, "who is seen now is seen later than before")
    before = counters(bed)
    packets = explain_file(bed.daemon, path, *words)
    assert len(packets) == len(frames) + 1
    wait_mirror(bed)
    after = counters(bed)
    assert after == before
    assert STRANGER not in {address for address, _ in after[-1]}
    return packets[:-1]


def send_each(daemon, sender, has_come, frames, packets):
    """Each frame for itself: it meets the rules that were told, once, and no other."""
    differs, before = [], met(daemon)
    for number, (data, packet) in enumerate(zip(frames, packets)):
        stats, so_far = daemon.stats(), met(daemon)
        sender.send(marked(data, number))
        wait_for(lambda: has_come(stats) and sum(difference(met(daemon), so_far).values()) >= len(met_by(packet)),
                 f"a frame is judged: {data.hex()}, {packet}")  # pylint: disable=cell-var-from-loop
        change = {rule: n for rule, n in difference(met(daemon), so_far).items() if n}
        differs += [(data.hex(), packet, change)] if change != met_by(packet) else []
    assert not differs
    daemon.rest()
    told = sum((collections.Counter(met_by(packet)) for packet in packets), collections.Counter())
    assert met(daemon) - before == told  # nor afterwards
    assert len(told) > 5


def check_arrivals(wires, frames, packets, everywhere):
    found = {name: marks(wire.drain()) for name, wire in wires.items()}
    differs = []
    for number, (data, packet) in enumerate(zip(frames, packets)):
        there = {name: count[number] for name, count in found.items() if count[number]}
        if there != dict.fromkeys(arrivals(packet, everywhere), 1):
            differs.append((data.hex(), packet, there))
    assert not differs


@pytest.mark.kernels
@pytest.mark.parametrize("sharing", ["shared", pytest.param("dedicated", marks=pytest.mark.long)])
def test_the_wire_does_what_explain_says(make_bed, tmp_path, sharing):
    bed = make_bed(quiet=True)
    daemon = bed.start("--default", "bridge", uplinks=[f"va,{sharing}"])
    daemon.ask("steer", "load", RULES + ("dmac own proto tcp to kernel\n" if sharing == "shared" else ""))
    own = bed.host.mac("va")
    with contextlib.ExitStack() as stack:
        ends = Ends(bed, stack)
        frames = [ends.placed(data) for _, hit, near in CASES.values() for data in (hit, near)]
        frames += [frame(layers, dst=dst) for layers in (UDP(dport=9), UDP(dport=99), TCP(flags="S"))
                   for dst in (own, "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:0e")]
        frames += [frame(UDP(dport=99), src="01:00:00:00:00:01"), frame(UDP(dport=99), src=own)]
        before = daemon.stats()
        ends.sender.send(*frames)  # so that what is to be learned is learned
        wait_for(lambda: ends.have_come(before, len(frames)), "all have come")
        packets = explained(bed, tmp_path / "frames.pcap", frames)
        for wire in ends.wires.values():
            wire.drain()
        send_each(daemon, ends.sender, lambda before: ends.have_come(before, 1), frames, packets)
        check_arrivals(ends.wires, frames, packets, everywhere={"kernel"})
    assert len({(packet["verdict"], packet["stage"], packet.get("rule")) for packet in packets}) > 8


RULES_OUT = """
prio 40000 in kernel proto sctp to drop
in kernel vlan 7 to drop
in kernel ethertype arp to va
in kernel src 198.51.100.0/31 proto udp dport 1-60 to vb limit 100000
in va src 198.51.100.0/31 proto udp to drop
tcp-flags syn/syn,ack to vb
proto icmp icmp-type 8 to pass
in kernel dst 2001:db8:2::2 to va
dscp 46 to drop
frag later to drop
dport 80 to bridge
"""


@pytest.mark.kernels
def test_the_wire_does_what_explain_says_of_frames_from_the_kernel(make_bed, tmp_path):
    bed = make_bed(uplinks=2, quiet=True)
    daemon = bed.start("--default", "bridge")
    daemon.ask("steer", "load", RULES_OUT)
    with contextlib.ExitStack() as stack:
        tap = stack.enter_context(Wire(bed.kern, "tap0"))
        wires = {uplink: stack.enter_context(Wire(peer, "vp")) for uplink, peer in zip(bed.uplinks, bed.peers)}
        wires["vb"].send(frame(TCP(), src=NEIGHBOUR))
        wait_for(lambda: NEIGHBOUR in {row["mac"] for row in daemon.fdb()}, "a neighbour is learned")
        frames = [data for _, hit, near in CASES.values() for data in (hit, near)]
        frames += [frame(layers, dst=dst) for layers in (UDP(dport=99), TCP(flags="SA")) for dst in
                   (NEIGHBOUR, bed.host.mac("va"), bed.kern.mac("tap0"), "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:0e")]
        frames += [frame(UDP(dport=99), src="01:00:00:00:00:01"), frame(UDP(dport=99), src=bed.host.mac("va"))]

        def have_come(before, n=1):
            return difference(daemon.stats(), before)["ports"]["tap0"]["rx_packets"] == n
        before = daemon.rest()
        tap.send(*frames)
        wait_for(lambda: have_come(before, len(frames)), "all have come")
        packets = explained(bed, tmp_path / "frames.pcap", frames, "in", "tap0")
        for wire in wires.values():
            wire.drain()
        send_each(daemon, tap, have_come, frames, packets)
        check_arrivals(wires, frames, packets, everywhere={"va", "vb"})
    assert {"va", "vb", "all", None} <= {packet.get("to") for packet in packets}
    assert len({(packet["verdict"], packet["stage"], packet.get("rule"), packet.get("drop")) for packet in packets}) > 10


def test_frames_of_the_kernel_are_explained_by_userspace(make_bed, tmp_path):
    bed = make_bed(quiet=True)
    daemon = bed.start("--rule", "in kernel proto udp to drop", "--rule", "proto tcp to pass")
    said = daemon.ask("explain", "kernel", *(f"{len(data)}:{data.hex()}" for data in (frame(UDP()), frame(TCP()))))
    assert [(packet["verdict"], packet.get("rule"), packet.get("to")) for packet in said["packets"]] == [
        ("drop", 1, None), ("bridge", 2, "all")]
    path = tmp_path / "frames.pcap"
    write_pcap(path, [frame(UDP()), frame(TCP())])
    assert explain_file(daemon, path, "in", "tap0") == said["packets"]
    assert [packet["verdict"] for packet in explain_file(daemon, path)] == ["bridge", "pass"]  # the uplink's


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed(quiet=True)
    bed.start("--default", "drop")
    return bed


@pytest.mark.parametrize("words", [
    "in va vlan 7 smac 02:00:00:00:00:0a dmac 02:00:00:00:00:0b",
    "ethertype arp", "proto tcp", "proto 89", "src 10.0.0.0/8 dst 10.1.2.3", "src 2001:db8::/32", "dport 80", "sport 7-9",
    "proto udp dport 53", "proto sctp sport 5", "tcp-flags syn/syn,ack", "proto icmp icmp-type 8", "proto icmpv6 icmp-type 128",
    "dscp 46", "dscp 46 dst ::1", "frag no", "frag first dport 80", "frag later proto udp", "frag first proto udp src ::1 sport 5",
    "frag later dst ::1", "vlan 0 ethertype 0x1234", "dmac own", "ethertype ipv6 proto tcp dport 22", "vlan none dport 80", "vlan 0",
    "in va dmac kernel proto icmp", "in uplink dscp 46", "in va,kernel dscp 46", "frag no dst ::1", "proto icmpv6 src 10.0.0.1",
    "vlan none ethertype 0x8100", "vlan 5 ethertype 0x88a8"])
def test_a_match_meets_the_rule_that_says_the_same(bed, words):
    daemon = bed.daemon
    daemon.ask("steer", "load", f"{words} to kernel\n")
    said = daemon.cli("explain", *words.split()).stdout
    assert "verdict" not in said and "kernel" not in said.splitlines()[1]
    first = said.splitlines()[0]
    assert first.startswith("1: in va, ") and "tap0, by rule" in first and "goes to tap0" in first


def test_what_was_parsed_is_told(bed):
    bed.daemon.ask("steer", "load", "to drop\n")
    said = bed.daemon.cli("explain", *"vlan 5 proto udp src 10.0.0.1 dst 10.0.0.2 sport 7 dport 9 dscp 3".split()).stdout
    assert said.splitlines()[1].split() == (
        "in va vlan 5 smac 02:00:00:00:00:02 dmac 02:00:00:00:00:01 ethertype ipv4 proto udp "
        "src 10.0.0.1/32 dst 10.0.0.2/32 sport 7 dport 9 dscp 3 frag no").split()


def test_a_program_that_says_otherwise_is_an_error(bed):
    """Somebody has written the pinned table: the program's default is not ours any more."""
    path = f"/sys/fs/bpf/xbridge/{bed.name}/table"
    bed.daemon.ask("steer", "flush")
    key = ["key", "0", "0", "0", "0"]

    def bpftool(*words):
        return subprocess.run(bed.in_host("bpftool", "-j", "map", *words), check=True, capture_output=True, text=True).stdout

    value = json.loads(bpftool("lookup", "pinned", path, *key))["value"]
    assert value[6] == "0x03"  # drop
    bpftool("update", "pinned", path, *key, "value", *value[:6], "0x01", *value[7:])
    try:
        done = bed.daemon.cli("explain", "proto", "udp", check=False)
    finally:
        bpftool("update", "pinned", path, *key, "value", *value)
    assert done.returncode == 1 and not done.stdout
    assert "program says verdict 1" in done.stderr and "userspace says verdict 3" in done.stderr
    assert bed.daemon.cli("explain", "proto", "udp").returncode == 0


def test_what_an_earlier_run_has_left_of_another_uplink_is_not_asked(make_bed):
    bed = make_bed(uplinks=2, quiet=True)
    daemon = bed.start("--default", "pass")
    daemon.kill()
    daemon.wait_exit()
    daemon.cli("detach", "va", named=False)
    daemon = bed.start("--default", "drop", uplinks=["vb,dedicated"])
    said = daemon.cli("explain", "proto", "udp").stdout
    assert said.startswith("1: in vb, ") and "drop" in said.splitlines()[0]


def test_runts_pass(bed, tmp_path):
    path = tmp_path / "runts.pcap"
    write_pcap(path, [b"x" * 13, frame(UDP())[:14]])
    assert [(packet["verdict"], packet["stage"]) for packet in explain_file(bed.daemon, path)] == [
        ("pass", "runt"), ("drop", "default")]


def test_a_long_file_is_explained_whole(bed, tmp_path):
    path = tmp_path / "many.pcap"
    bed.daemon.ask("steer", "load", "proto udp dport 1-500 to kernel\n")
    write_pcap(path, [frame(UDP(dport=1 + i % 1000)) for i in range(1000)])
    assert [packet["verdict"] for packet in explain_file(bed.daemon, path)] == (["tap0"] * 500 + ["drop"] * 500)


@pytest.mark.parametrize("words, status, said", [
    ("", 2, ["MATCH", "pcap FILE"]),
    ("dport 70000", 2, ["character 7", "'70000'", "a port, a range"]),
    ("proto udp to drop", 2, ["'to'", "the end"]),
    ("prio 5", 2, ["'prio'"]),
    ("in kernel dmac own", 2, ["no frame could match", "dmac own"]),
    ("ethertype ipv6 proto 44", 2, ["no frame could match", "extension headers"]),
    ("in nowhere proto udp", 1, ["nowhere", "port list"]),
    ("pcap", 2, ["FILE"]),
    ("pcap /nonexistent", 1, ["/nonexistent", "No such file"]),
    ("pcap /dev/null", 1, ["/dev/null"]),
    ("pcap WIFI", 1, ["IEEE802_11", "not Ethernet"]),
    ("pcap CUT", 1, ["packet 1", "truncated"]),
    ("pcap CUT in nowhere", 1, ["nowhere"]),
])
def test_mistakes_are_told(bed, tmp_path, words, status, said):
    write_pcap(tmp_path / "WIFI", [bytes(100)], linktype=105)
    write_pcap(tmp_path / "CUT", [bytes(100)])
    (tmp_path / "CUT").write_bytes((tmp_path / "CUT").read_bytes()[:-5])
    words = [str(tmp_path / word) if word in ("WIFI", "CUT") else word for word in words.split()]
    done = bed.daemon.cli("explain", *words, check=False)
    assert done.returncode == status and not done.stdout
    assert all(part in done.stderr for part in said), done.stderr
