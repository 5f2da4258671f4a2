# SPDX-License-Identifier: BSD-2-Clause
"""An uplink that stands on other devices: what their senders leave open, what arrives joined, and what has lost its tag.

    kern: tap0 ◄── xbridge ──► br0, or va.7 :host ── va ◄── veth ──► vp :peer
"""

import os
import re
import socket

import pytest

from test_beside import pass_object
from test_waiting import libxdp_lock
from traffic import UDP_SEGMENT, Wire, ether, tcp_copy, udp_socket
from xbridge import PIN_ROOT, TAP_IP, difference, peer_ip, scaled, wait_for

MB = 1 << 20


def add_device(bed, kind):
    """Makes the uplink of this kind upon va; returns its name."""
    if kind == "bridge":
        bed.host.ip("link add br0 type bridge", "link set br0 up", "link set va master br0")
        return "br0"
    words = {"vlan": "type vlan id 7", "macvlan": "type macvlan mode passthru"}[kind]
    for ns, name in ((bed.host, "va"), (bed.peer, "vp"))[:2 if kind == "vlan" else 1]:
        done = ns.run(*f"ip link add link {name} name {name}.7 {words}".split(), check=False)
        if "Unknown device type" in done.stderr:
            pytest.skip(f"this kernel has no {kind} devices")
        ns.ip(f"link set {name}.7 up")
    if kind == "vlan":
        bed.peer.ip("addr flush dev vp", f"addr add {peer_ip()}/24 dev vp.7")
    return "va.7"


def findings(daemon, name, check):
    return [finding for finding in daemon.doctor(name) if finding["check"] == check]


def test_a_dedicated_uplink_that_is_a_bridges_port_is_warned_of(make_bed):
    bed = make_bed(quiet=True)
    add_device(bed, "bridge")
    daemon = bed.start(uplinks=["va,shared"])
    assert "port of the bridge" not in daemon.text()
    assert [finding["state"] for finding in findings(daemon, "va", "sharing")] == ["ok", "note"]
    daemon.stop()
    daemon = bed.start(uplinks=["va,dedicated"])
    daemon.wait_log("warning: uplink va: is dedicated, and a port of the bridge br0.*leave out dedicated")
    assert [finding["state"] for finding in findings(daemon, "va", "sharing")] == ["ok", "warn"]
    daemon.stop()
    bed.host.ip("link del br0")


@pytest.fixture(params=["bridge", pytest.param("vlan", marks=pytest.mark.vm)])
def stacked(make_bed, request):
    bed = make_bed()
    bed.name_below = add_device(bed, request.param)
    yield bed
    for daemon in bed.daemons:
        daemon.stop()
    bed.host.ip(f"link del {bed.name_below}")  # a bridge makes its ports promiscuous


def test_checksums_that_are_open_below_are_finished_and_joining_is_told_with_what_ends_it(stacked):
    bed, name = stacked, stacked.name_below
    daemon = bed.start(uplinks=[f"{name},dedicated"])
    assert daemon.port(name)["csum"] == "trust" and daemon.port(name)["xdp"] == "generic"
    remedy = "tso off tx-udp-segmentation off"
    daemon.wait_log(f": uplink {name}: if the peer of va, .* sends segments whole, .*ethtool -K PEER {remedy}")
    (finding,) = findings(daemon, name, "merging")
    assert finding["state"] == "note" and "not looked at" in finding["text"] and remedy in finding["remedy"]
    (finding,) = findings(daemon, name, "checksum")
    assert "va may leave checksums open" in finding["text"] and "trust" in finding["text"]
    for peer_end in ("vp", "vp.7"):
        bed.peer.run("ethtool", "-K", peer_end, *remedy.split(), check=False)
    wait_for(lambda: bed.peer.run("ping", "-c", "1", "-W", "1", TAP_IP, check=False).returncode == 0, "tap0 answers", 20)
    before = daemon.rest()
    tcp_copy(bed.peer, bed.kern, TAP_IP, scaled(4 * MB), back=scaled(4 * MB))
    with udp_socket(bed.peer, TAP_IP) as sender, udp_socket(bed.kern, TAP_IP) as receiver:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sender.sendto(bytes(10000), (TAP_IP, receiver.getsockname()[1]))
        assert [len(receiver.recv(65536)) for _ in range(10)] == [1000] * 10
    change = difference(daemon.rest(), before)
    assert change["ports"][name]["xdp"]["pass_long"] == 0
    assert change["ports"]["tap0"]["tx_csum_left"] > 0, "what the peer has left open"


def test_a_peer_here_that_sends_whole_segments_is_told_until_what_helps_is_done(make_bed):
    bed = make_bed(uplinks=0)
    bed.host.ip("link add va type veth peer name near", "link set va up", "link set near up")
    add_device(bed, "bridge")
    daemon = bed.start(uplinks=["br0,dedicated"], addresses=False)
    daemon.wait_log(r"warning: uplink br0: frames may arrive joined from va \(its peer sends segments whole\)")
    (finding,) = findings(daemon, "br0", "merging")
    assert finding["state"] == "warn" and "sends segments whole" in finding["text"]
    bed.host.run(*finding["remedy"].split())
    assert [finding["state"] for finding in findings(daemon, "br0", "merging")] == ["ok"]
    daemon.stop()
    daemon = bed.start(uplinks=["br0,dedicated"], addresses=False)
    assert "joined" not in daemon.text() and "segments whole" not in daemon.text()
    daemon.stop()
    bed.host.ip("link del br0")


def test_gro_where_frames_come_in_is_told_with_the_command_that_ends_it(make_bed):
    bed = make_bed(quiet=True)
    bed.host.run("ethtool", "-K", "va", "gro", "on")
    daemon = bed.start(uplinks=["va,dedicated,xdp=generic"])
    daemon.wait_log(r"warning: uplink va: frames may arrive joined from va \(GRO\).*: ethtool -K va gro off")
    daemon.stop()
    assert "joined" not in bed.start(uplinks=["va,dedicated"]).text(), "natively XDP comes before GRO"


@pytest.mark.vm
def test_a_rule_that_names_the_vlan_of_a_vlan_device_is_doubted_and_a_tag_within_is_not(make_bed):
    bed = make_bed(quiet=True)
    name = add_device(bed, "vlan")
    daemon = bed.start(uplinks=[f"{name},dedicated"])
    (finding,) = findings(daemon, name, "vlan")
    assert finding["state"] == "ok" and "carries VLAN 7 alone" in finding["text"]
    assert "own tag is gone" in daemon.cli("steer", "add", f"in {name} vlan 7 proto udp to drop").stderr
    assert not daemon.cli("steer", "add", f"in {name} vlan 8 to drop").stderr
    daemon.cli("steer", "add", "vlan none ethertype 0x88b5 to kernel")
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        for tags in [7, 8], [7]:
            wire.send(ether(bed.kern.mac("tap0"), bed.peer.mac("vp"), b"tagged" + bytes(60), tags=tags))
        tap.expect(b"tagged")
    daemon.rest()
    assert [rule["packets"] for rule in daemon.ask("steer", "list", "-s")["rules"]] == [0, 1, 1]
    daemon.stop()
    bed.host.ip(f"link del {name}")


def test_what_the_user_says_of_checksums_holds(stacked):
    name = stacked.name_below
    assert stacked.start(uplinks=[f"{name},dedicated,csum=verify"]).port(name)["csum"] == "verify"


@pytest.fixture(params=["bridge", pytest.param("macvlan", marks=pytest.mark.vm)])
def untagging(make_bed, request):
    bed = make_bed(quiet=True)
    bed.name_below = add_device(bed, request.param)
    yield bed
    for daemon in bed.daemons:
        daemon.stop()
    bed.host.ip(f"link del {bed.name_below}")


def test_vlan_tags_that_the_kernel_takes_off_below_are_told_with_what_helps(untagging):
    bed, name = untagging, untagging.name_below
    daemon = bed.start(uplinks=[f"{name},dedicated"])
    daemon.wait_log(f"warning: uplink {name}: VLAN tags are lost before XDP .*: use what lies below {name} .* link {name} name")
    assert daemon.port(name)["loses_vlan_tags"]
    (finding,) = findings(daemon, name, "vlan")
    assert finding["state"] == "warn" and "no offload has a say" in finding["text"]
    assert finding["remedy"].startswith(f"use what lies below {name} as the uplink") and "ethtool" not in finding["remedy"]
    assert "loses VLAN tags" in daemon.cli("steer", "add", f"in {name} vlan 10 to drop").stderr
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        ends = bed.kern.mac("tap0"), bed.peer.mac("vp")
        wire.send(ether(*ends, b"in VLAN 10" + bytes(60), tags=[10]))
        tap.expect(ether(*ends, b"in VLAN 10" + bytes(60)))
    assert daemon.ask("steer", "list", "-s")["rules"][0]["packets"] == 0


# ---- uplinks that stand on each other ----

@pytest.fixture(params=[pytest.param("macvlan", marks=pytest.mark.native), pytest.param("vlan", marks=pytest.mark.vm)])
def upon(make_bed, request):
    """A device on va, both to be uplinks: with libxdp's dispatcher in a VM, with a link of our own natively."""
    bed = make_bed(quiet=True)
    bed.name_below = add_device(bed, request.param)
    bed.both = [f"{bed.name_below},dedicated", "va,dedicated"]
    yield bed
    for daemon in bed.daemons:
        if daemon.running():
            daemon.stop()
    for name in ("va", bed.name_below):
        assert "xdp" not in bed.host.link(name), f"{name}: {bed.host.link(name)['xdp']}"
    assert "libbpf:" not in "".join(daemon.text() for daemon in bed.daemons)
    bed.host.ip(f"link del {bed.name_below}")  # a macvlan makes what it stands on promiscuous


def have_programs(bed, *names):
    return all("xdp" in bed.host.link(name) for name in names)


def both_run(bed):
    ports = [port for port in bed.daemon.status()["ports"] if port["type"] == "uplink"]
    return len(ports) == 2 and all(port["running"] and port["up"] and not port["doing"] for port in ports)


@pytest.mark.parametrize("first", ["upper", "lower"])
def test_uplinks_upon_each_other_start_in_any_order_and_leave_nothing(upon, first):
    bed = upon
    daemon = bed.start(uplinks=bed.both if first == "upper" else bed.both[::-1])
    assert have_programs(bed, "va", "va.7") and both_run(bed)
    daemon.stop()
    told_of_macvlans = ("VLAN tags are lost", "frames may arrive joined")
    assert not [line for line in daemon.log if "warning" in line and not any(words in line for words in told_of_macvlans)]


def test_uplinks_upon_each_other_are_taken_over_after_a_kill(upon):
    bed = upon
    for uplinks in (bed.both, bed.both[::-1]):
        daemon = bed.start(uplinks=uplinks)
        daemon.kill()
        daemon.wait_exit()
    daemon = bed.start(uplinks=["va.7,dedicated"])
    daemon.wait_log("removed the program that an earlier run had left on va$")
    wait_for(lambda: have_programs(bed, "va.7") and not have_programs(bed, "va"), "the one that is not named has none")
    daemon.stop()
    assert "has lost" not in "".join(daemon.text() for daemon in bed.daemons)


def test_a_lower_uplink_that_changes_puts_the_upper_ones_program_on_again(upon):
    bed = upon
    daemon = bed.start(uplinks=bed.both)
    since = len(daemon.log)
    bed.host.ip("link set va mtu 1400")
    daemon.wait_log("uplink va: 1 of 1 queues", since=since)
    wait_for(lambda: have_programs(bed, "va", "va.7") and both_run(bed), "both run")
    assert "has lost" not in daemon.text()


def test_a_program_of_another_instance_upon_an_uplink_is_named_with_what_helps(upon):
    bed = upon
    other = bed.start("--name", f"{bed.name}o", "--ifname", "tap1", uplinks=["va.7,dedicated"], addresses=False)
    refused = bed.start(uplinks=["va,dedicated"], ready=False)
    assert refused.wait_exit(20) == 1
    assert (f"can't put an XDP program on va: va.7, which stands on it, has one already (instance '{bed.name}o' of xbridge)"
            in refused.text())
    (finding,) = [f for f in findings(refused, "va", "program") if f["state"] == "note"]
    assert f"va.7, which stands on it, has an XDP program of instance '{bed.name}o'" in finding["text"]
    assert "stop that instance" in refused.text() and "give one instance both uplinks" in refused.text()
    other.stop()


def test_a_stop_below_another_instance_says_what_stays_and_how_it_goes(upon):
    bed = upon
    lower = bed.start(uplinks=["va,dedicated"])
    other = bed.start("--name", f"{bed.name}o", "--ifname", "tap1", uplinks=["va.7,dedicated"], addresses=False)
    by_dispatcher = lower.port("va")["attached"] == "dispatcher"
    lower.stop(log_ends=not by_dispatcher)
    if by_dispatcher:  # a link goes at any time
        lower.wait_log("warning: va: can't take the XDP program off va: va.7, which stands on it, has one still")
        assert "Retried" not in lower.text() and lower.text().count("can't take") == 1
        refused = lower.cli("detach", "va", check=False, named=False)
        assert refused.returncode == 1 and "va.7, which stands on it, has one still" in refused.stderr
    other.stop()
    if by_dispatcher:
        lower.cli("detach", "va", named=False)


def test_the_doorman_takes_off_what_stands_on_each_other_when_the_daemon_has_ended(upon):
    bed = upon
    daemon = bed.start(uplinks=bed.both[::-1])
    with libxdp_lock():
        daemon.stop(log_ends=False)
    pins = f"{PIN_ROOT}/{bed.name}"
    wait_for(lambda: not any((os.path.exists(pins), have_programs(bed, "va"), have_programs(bed, "va.7"))), "all is removed")


def test_somebody_elses_program_upon_an_uplink_is_left_and_what_is_said_helps(upon, tmp_path):
    bed = upon
    bed.host.ip(f"link set va.7 xdpgeneric obj {pass_object(bed, tmp_path)} sec xdp")
    refused = bed.start(uplinks=["va,dedicated"], ready=False)
    assert refused.wait_exit(20) == 1
    assert re.search(r"can't put an XDP program on va: va.7, which stands on it, has one already \(id \d+\)", refused.text())
    (finding,) = [f for f in findings(refused, "va", "program") if f["state"] == "fail"]
    assert "va.7, which stands on it, has XDP program" in finding["text"]
    assert have_programs(bed, "va.7") and "ip link set dev va.7 xdp off, and load it again afterwards" in refused.text()
    bed.host.ip("link set dev va.7 xdp off")
    bed.start(uplinks=["va,dedicated"]).stop()


def test_a_start_gets_the_mode_that_it_asks_for_whatever_was_left(make_bed):
    bed = make_bed(quiet=True)
    for way, mode in ((",xdp=generic", "generic"), ("", "native"), (",xdp=generic", "generic"), (",xdp=native", "native")):
        daemon = bed.start(uplinks=[f"va,dedicated{way}"])
        assert daemon.port("va")["xdp"] == mode
        daemon.kill()
        daemon.wait_exit()
    bed.start(uplinks=["va,dedicated"]).stop()
