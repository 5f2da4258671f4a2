# SPDX-License-Identifier: BSD-2-Clause
"""Rules work both ways: what goes to the kernel by a rule gets its answer out again, whoever begins.

    kern: tap0 ◄── xbridge ──► va :host        va ── veth ──► vp :peer        vb ──► vp :peer2
"""

import contextlib
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP

from pins import bpftool
from steer import FROM, Ends, frame
from traffic import Wire
from xbridge import PATIENCE, TAP_IP, TAP_IP6, peer_ip, peer_ip6, wait_for


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed()
    bed.start()
    return bed


def forget_neighbours(bed):
    for ns, ifname in (bed.kern, "tap0"), (bed.peer, "vp"):
        ns.ip(f"neigh flush dev {ifname}")


def ping(ns, to):
    ns.run("ping", "-n", "-c", "3", "-i", "0.05", "-W", "5", to)


def talk_both_ways(bed):
    """Each side begins once, in IPv4 and IPv6, from an empty neighbour table on."""
    for ns, to in (bed.peer, TAP_IP), (bed.kern, peer_ip()), (bed.peer, TAP_IP6), (bed.kern, peer_ip6()):
        forget_neighbours(bed)
        ping(ns, to)


RULES = [
    "proto icmp to kernel limit 100",
    "proto icmp to kernel\nproto icmpv6 to kernel\nethertype arp to kernel",
    "ethertype arp to kernel",
    "proto icmpv6 icmp-type 135-136 to kernel limit 10",
    f"src {peer_ip()}/32 to kernel\nsrc {TAP_IP}/32 to kernel",
    f"src {TAP_IP6}/128 to kernel\ndst {TAP_IP6}/128 to kernel",
    "vlan none to kernel",
    "dmac kernel to kernel",
    "in uplink to kernel",
    "to kernel",
    "to va",
    "to kernel\nto va",
    "default kernel",
    "default va",
    "default kernel\nproto icmp to kernel limit 100",
    "in va,kernel to bridge\ndefault drop",
]


@pytest.mark.parametrize("rules", RULES)
def test_ping_goes_both_ways_through_rules_to_a_port(bed, daemon, rules):
    daemon.ask("steer", "load", rules)
    talk_both_ways(bed)
    stats = daemon.stats()["ports"]
    assert not any(port["drops"]["hairpin"] for port in stats.values())


@pytest.mark.vm
def test_a_tagged_rule_to_the_kernel_leaves_the_kernels_frames_alone(make_bed):
    bed = make_bed(quiet=True)
    daemon = bed.start("--default", "drop", "--rule", "vlan 5 to kernel", "--rule", "to va")
    with contextlib.ExitStack() as stack:
        ends = Ends(bed, stack)
        assert ends.send(frame(UDP(), vlan=5)) == "kernel"
        ends.wires["kernel"].send(frame(UDP(), vlan=5))
        ends.sender.expect(bytes(frame(UDP(), vlan=5))[-20:])
        assert daemon.stats()["ports"]["tap0"]["drops"]["hairpin"] == 0


def test_a_rule_that_does_not_apply_is_neither_counted_nor_charged(make_bed):
    bed = make_bed(quiet=True)
    daemon = bed.start("--rule", "proto udp to kernel limit 1:1", "--rule", "proto udp to va")
    first, second = (rule["id"] for rule in daemon.ask("steer", "list")["rules"])
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        tap.send(*[frame(UDP())] * 5)
        wait_for(lambda: daemon.ask("steer", "show", str(second))["packets"] == 5, "the second rule has them")
        assert daemon.ask("steer", "show", str(first))["packets"] == 0
        wire.send(frame(UDP(), src="02:00:00:00:66:77"))
        wait_for(lambda: daemon.ask("steer", "show", str(first))["packets"] == 1, "the first rule has that")
    stats = daemon.rest()["ports"]
    assert stats["va"]["xdp"]["limit"] == 0 and stats["tap0"]["drops"]["limit"] == 0


def test_a_limit_of_ten_lets_one_exchange_of_arp_pass(bed, daemon):
    daemon.ask("steer", "load", "ethertype arp to kernel limit 10")
    forget_neighbours(bed)
    ping(bed.peer, TAP_IP)
    forget_neighbours(bed)
    ping(bed.kern, peer_ip())


# ---- trials ----

CHANGES = {
    "add": ("add", "to", "drop"),
    "del": ("del", "1"),
    "replace": ("replace", "1", "proto", "udp", "to", "drop"),
    "flush": ("flush",),
    "default": ("default", "drop"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_can_be_on_trial_and_is_taken_back_in_time(daemon, change):
    daemon.ask("steer", "load", "default bridge\nid 1 proto udp to kernel\n")
    before = daemon.ask("steer", "list")
    begun = time.monotonic()
    daemon.ask("steer", *CHANGES[change], "--confirm", "1")
    now = daemon.ask("steer", "list")
    assert now != before or time.monotonic() - begun >= 1  # on a slow machine it may be over
    took = wait_for(lambda: daemon.ask("steer", "list") == before and time.monotonic() - begun, "it is taken back", pause=0.005)
    assert 0.95 <= took <= 1 + 0.1 * PATIENCE + 0.1


def test_several_changes_are_taken_back_together_or_kept_together(daemon):
    daemon.ask("steer", "load", "id 1 proto udp to kernel\n")
    before = daemon.ask("steer", "list")
    for words in ("add", "to", "drop"), ("default", "drop"), ("del", "1"):
        daemon.ask("steer", *words, "--confirm", "60")
    tried = daemon.ask("steer", "list")
    daemon.ask("steer", "revert")
    assert daemon.ask("steer", "list") == before
    for words in ("add", "to", "drop"), ("default", "drop"), ("del", "1"):
        daemon.ask("steer", *words, "--confirm", "60")
    daemon.ask("steer", "confirm")
    kept = daemon.ask("steer", "list")
    assert kept["default"] == "drop" and [rule["rule"] for rule in kept["rules"]] == ["to drop"] and "confirm_within_s" in tried


def dropped(bed):
    """Frames that the programs have dropped."""
    return sum(cpu["value"]["drop"] for row in bpftool(bed, "verdict_stats") for cpu in row["values"])


def test_after_a_kill_the_confirmed_table_is_in_force(make_bed):
    """Soon, not at the trial's end: it needs the daemon alive."""
    bed = make_bed(quiet=True)
    daemon = bed.start("--rule", "proto udp to pass")
    daemon.ask("steer", "load", "default drop\nproto tcp to drop\n", "--confirm", "3600")
    with Wire(bed.peer, "vp") as wire, Wire(bed.host, "va") as host:
        host.drain()
        daemon.kill()

        def passes():
            wire.send(frame(UDP(), src=FROM))
            return host.drain()
        wait_for(passes, "UDP passes, as was confirmed")
        drops = dropped(bed)
        wire.send(frame(IP(dst="198.51.100.9") / TCP(), src=FROM))
        host.expect(frame(IP(dst="198.51.100.9") / TCP(), src=FROM)[-20:])
        assert dropped(bed) == drops
    bed.start("--rule", "proto udp to pass")


# ---- the table as a text ----

def test_what_list_prints_load_reads(daemon, tmp_path):
    daemon.cli("steer", "default", "drop")
    for words in (["id", "7", "in", "uplink", "proto", "tcp", "dport", "bgp", "to", "kernel", "comment", 'say "hi" # there'],
                  ["id", "8", "vlan", "none", "dmac", "kernel", "proto", "gre", "to", "va", "limit", "10"]):
        daemon.cli("steer", "add", *words)
    text = daemon.cli("steer", "list").stdout
    assert text.splitlines() == [
        "default drop", 'id 7 in uplink proto tcp dport 179 to kernel comment "say \\"hi\\" # there"',
        "id 8 vlan none dmac kernel proto 47 to va limit 10:8"]
    before = daemon.ask("steer", "list")
    (tmp_path / "rules").write_text(text)
    daemon.cli("steer", "flush")
    daemon.cli("steer", "default", "bridge")
    daemon.cli("steer", "load", str(tmp_path / "rules"))
    after = daemon.ask("steer", "list")
    for table in before, after:
        for rule in table["rules"]:
            del rule["slot"]
    assert after == before


def test_an_empty_text_is_no_table_unless_one_says_so(daemon, tmp_path):
    daemon.cli("steer", "add", "to", "drop")
    (tmp_path / "rules").write_text("# nothing\n\n")
    for command in "load", "check":
        done = daemon.cli("steer", command, str(tmp_path / "rules"), check=False)
        assert done.returncode == 1 and "--empty" in done.stderr
    assert len(daemon.ask("steer", "list")["rules"]) == 1
    daemon.cli("steer", "load", str(tmp_path / "rules"), "--empty")
    assert not daemon.ask("steer", "list")["rules"]


def test_check_says_what_load_would_and_changes_nothing(daemon, tmp_path):
    (tmp_path / "rules").write_text("in va to va\nto drop limit 5\n")
    done = daemon.cli("steer", "check", str(tmp_path / "rules"))
    assert done.stdout == "good: 2 rules, default bridge (as it is)\n"
    assert "line 1: it never applies" in done.stderr and "line 2: the limit does nothing" in done.stderr
    assert not daemon.ask("steer", "list")["rules"]
    (tmp_path / "rules").write_text("to drop\nin nowhere to drop\n")
    checked, loaded = (daemon.cli("steer", command, str(tmp_path / "rules"), check=False) for command in ("check", "load"))
    assert (checked.returncode, checked.stderr) == (loaded.returncode, loaded.stderr) and "line 2" in checked.stderr


def test_a_doubtful_rule_is_taken_with_a_warning(daemon):
    done = daemon.cli("steer", "add", "in", "va", "to", "va")
    assert done.returncode == 0 and done.stdout.strip().isdigit()
    assert "warning: it never applies" in done.stderr
    assert "warning: it never applies" in daemon.cli("steer", "show", done.stdout.strip()).stderr


def test_default_alone_prints_it(daemon):
    assert daemon.cli("steer", "default").stdout == "bridge\n"
    daemon.cli("steer", "default", "kernel")
    assert daemon.cli("steer", "default").stdout == "kernel\n"


def test_dmac_kernel_follows_the_kernels_address(make_bed):
    bed = make_bed(quiet=True)
    daemon = bed.start("--default", "drop", "--rule", "dmac kernel to kernel", "--rule", "in kernel to va")
    for mac in bed.kern.mac("tap0"), "02:00:00:00:77:01":
        bed.kern.ip(f"link set tap0 address {mac}")
        bed.peer.ip(f"neigh replace {TAP_IP} lladdr {mac} dev vp nud permanent")
        wait_for(lambda: bed.peer.run("ping", "-n", "-c", "1", "-W", "1", TAP_IP, check=False).returncode == 0, "ping")
    assert daemon.ask("steer", "list")["rules"][0]["rule"] == "dmac kernel to kernel"
