# SPDX-License-Identifier: BSD-2-Clause
"""What happens to interfaces while xbridge runs: it says so, keeps the rest going, and goes on when they are back."""

import fcntl
import os
import resource
import socket
import struct
import subprocess

import pytest

from handed_in import open_tap
from load import Flood, Wire, answers, wait_under_load
from xbridge import PATIENCE, PIN_ROOT, TAP_IP, drops, peer_ip, peer_ip6, scaled, wait_for

TEST_TYPE = 0x88b5


@pytest.fixture
def bed(make_bed):
    """Two uplinks, so that there is always a rest."""
    return make_bed(uplinks=2)


def peers_reach_tap(bed):
    return all(answers(peer, TAP_IP) for peer in bed.peers)


def rewire(bed, peer_mac, name="va"):
    """Makes the first uplink again, as it was."""
    bed.host.ip(f"link add {name} numrxqueues 1 numtxqueues 1 type veth peer name vp numrxqueues 1 numtxqueues 1 "
                f"address {peer_mac} netns {bed.peer.name}", f"link set {name} up")
    bed.peer.ip("link set vp up", f"addr add {peer_ip()}/24 dev vp", f"addr add {peer_ip6()}/64 dev vp nodad")


def has_come_back(bed, daemon, uplink="va"):
    daemon.wait_log(f"uplink {uplink} is back")
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
    daemon.rest()


class NoDescriptors:
    """While it lasts the daemon can't open anything: its limit is the lowest number that is free."""

    def __init__(self, daemon):
        self.pid = daemon.pid
        self.before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)

    def lower(self):
        """Returns whether all numbers below the limit are in use."""
        used = set(map(int, os.listdir(f"/proc/{self.pid}/fd")))
        lowest = next(n for n in range(len(used) + 1) if n not in used)
        now, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        if now > lowest:
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (lowest, hard))
        return now == lowest

    def __enter__(self):
        wait_for(self.lower, "nothing is closed any more", pause=0.1)

    def __exit__(self, *_):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self.before)


# ---- the uplink ----

@pytest.mark.both_ways
def test_a_shortage_of_descriptors_disturbs_no_port(bed):
    """What can't be looked at is as it was; what has changed meanwhile is noticed once it can."""
    daemon = bed.start()
    assert peers_reach_tap(bed)
    with Flood(bed):
        wait_under_load(daemon)
        with NoDescriptors(daemon):
            bed.host.ip("link set va address 02:00:00:00:77:01")  # link events, besides what each tick looks at
            for uplink in ("va", "vb"):
                daemon.wait_log(f"uplink {uplink} goes on, but changes of it are not noticed: Too many open files; .*ulimit -n")
            wait_for(lambda: peers_reach_tap(bed), "both reach tap0 all the same")
        for uplink in ("va", "vb"):
            daemon.wait_log(f"changes of uplink {uplink} are noticed again")
    wait_for(lambda: daemon.port("va")["mac"] == "02:00:00:00:77:01", "the new address is known")
    before = daemon.stats()["ports"]["va"]["xdp"]["pass_own"]
    with Wire(bed.peer, "vp") as wire:
        wire.send(bytes.fromhex("020000007701") + wire.mac + b"\x88\xb5" + bytes(46))
    wait_for(lambda: daemon.stats()["ports"]["va"]["xdp"]["pass_own"] > before, "frames to it are its stack's")
    assert peers_reach_tap(bed)
    assert not any(word in daemon.text() for word in (" is gone", "has lost", "is deleted", "is back", "queues now")), daemon.text()
    daemon.rest()



@pytest.mark.both_ways
def test_uplink_set_down_and_up_goes_on(bed):
    daemon = bed.start()
    with Flood(bed):
        wait_under_load(daemon)
        bed.host.ip("link set va down")
        wait_for(lambda: not daemon.port("va")["up"], "it is seen to be down")
        wait_for(lambda: drops(daemon.stats(), "va").get("port_down"), "what goes there is dropped as port_down")
        wait_for(lambda: answers(bed.peers[1], TAP_IP), "the rest goes on")
        bed.host.ip("link set va up")
        wait_for(lambda: daemon.port("va")["up"], "it is seen to be up")
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
    daemon.rest()


@pytest.mark.both_ways
def test_uplink_that_loses_its_carrier_is_down_until_it_is_back(bed):
    daemon = bed.start()
    bed.peer.ip("link set vp down")
    wait_for(lambda: not daemon.port("va")["up"], "it is seen to be down")
    bed.peer.ip("link set vp up")
    wait_for(lambda: daemon.port("va")["up"], "it is seen to be up")
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")


@pytest.mark.kernels
@pytest.mark.both_ways
def test_uplink_deleted_under_traffic_is_used_again_when_it_is_made_again(bed):
    daemon = bed.start()
    mac = bed.peer.mac("vp")
    for _ in range(scaled(3)):
        since = len(daemon.log)
        with Flood(bed):
            wait_under_load(daemon)
            bed.host.ip("link del va")
            daemon.wait_log("warning: uplink va is gone", since=since)
            wait_for(lambda: answers(bed.peers[1], TAP_IP), "the rest goes on")
            status = daemon.port("va")
            assert status["lost"] and not status["running"] and not status["up"]
            rewire(bed, mac)
            daemon.wait_log("uplink va is back", since=since)
        wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
        assert not daemon.port("va")["lost"]
    daemon.rest()


@pytest.mark.both_ways
def test_uplink_moved_to_another_namespace_and_back_is_used_again(bed):
    daemon = bed.start()
    with Flood(bed):
        wait_under_load(daemon)
        bed.host.ip(f"link set va netns {bed.kern.name}")
        daemon.wait_log("warning: uplink va is gone")
        wait_for(lambda: answers(bed.peers[1], TAP_IP), "the rest goes on")
        bed.kern.ip(f"link set va netns {bed.host.name}")
        bed.host.ip("link set va up")
    has_come_back(bed, daemon)


def test_uplink_moved_away_and_another_of_its_name_made_is_used(bed):
    daemon = bed.start()
    bed.host.ip(f"link set va netns {bed.kern.name}")
    daemon.wait_log("warning: uplink va is gone")
    bed.peer.ip("link set vp down", "link set vp name old", "addr flush dev old")
    rewire(bed, "02:00:00:00:00:01")
    has_come_back(bed, daemon)
    assert "xdp" not in bed.kern.link("va"), "the program went off the one that moved away"
    bed.kern.ip("link del va")


@pytest.mark.both_ways
def test_uplink_that_moves_away_and_back_at_once_is_used_again(bed):
    """Its sockets are dead then, even if nobody saw it gone."""
    daemon = bed.start()
    daemon.ask("status")
    there = f"link set va netns {bed.kern.name}"
    bed.host.ip(there)
    bed.kern.ip(f"link set va netns {bed.host.name}")
    bed.host.ip("link set va up")
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")


def test_uplink_that_comes_back_with_another_program_on_it_says_why_it_is_not_used(bed, tmp_path):
    daemon = bed.start()
    bed.host.ip("link del va")
    daemon.wait_log("uplink va is gone")
    source = tmp_path / "pass.c"
    source.write_text('__attribute__((section("xdp"))) int pass(void *ctx) { return 2; }\n')
    bed.host.run("clang", "-O2", "-target", "bpf", "-c", str(source), "-o", str(tmp_path / "pass.o"))
    rewire(bed, "02:00:00:00:00:01", name="vx")
    bed.host.ip(f"link set vx xdp obj {tmp_path}/pass.o sec xdp", "link set vx down", "link set vx name va",
                "link set va up")
    daemon.wait_log(r"va can't be used: .*another XDP program is there.*ip link set dev va xdp off")
    said = [line for line in daemon.log if "another XDP program" in line]
    assert len(said) == 1
    bed.host.ip("link set va xdp off")
    has_come_back(bed, daemon)


@pytest.mark.both_ways
def test_program_that_somebody_takes_off_the_uplink_is_attached_again(bed):
    daemon = bed.start()
    pin = f"{PIN_ROOT}/{bed.name}/internal/link_0"
    for _ in range(2):
        since = len(daemon.log)
        subprocess.run(bed.in_host("bpftool", "link", "detach", "pinned", pin), check=True)
        daemon.wait_log("uplink va has lost its XDP program", since=since)
        daemon.wait_log("uplink va is back", since=since)
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
    daemon.rest()


@pytest.mark.kernels
@pytest.mark.both_ways
def test_mtu_of_the_uplink_changed_while_it_runs_is_obeyed_and_tap0_follows(bed):
    daemon = bed.start(uplinks=["va,dedicated"])
    assert bed.kern.link("tap0")["mtu"] == 1500
    for mtu in (3000, 1400):
        bed.host.ip(f"link set va mtu {mtu}")
        bed.peer.ip(f"link set vp mtu {mtu}")
        daemon.wait_log(f"va.*MTU {mtu}")
        wait_for(lambda: bed.kern.link("tap0")["mtu"] == mtu, "tap0 follows")
        size = str(mtu - 28)
        wait_for(lambda: bed.peer.run("ping", "-n", "-c", "1", "-W", str(PATIENCE), "-M", "do", "-s", size, TAP_IP,
                                      check=False).returncode == 0, f"a frame of {mtu} bytes crosses")
        assert bed.kern.run("ping", "-n", "-c", "1", "-W", str(PATIENCE), "-M", "do", "-s", size, peer_ip())
    daemon.rest()


def test_mtu_of_tap0_that_was_asked_for_does_not_follow_the_uplinks(bed):
    daemon = bed.start("--mtu", "1500", uplinks=["va,dedicated"])
    bed.host.ip("link set va mtu 1400")
    daemon.wait_log("va.*MTU 1400")
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    assert bed.kern.link("tap0")["mtu"] == 1500


@pytest.mark.kernels
@pytest.mark.both_ways
def test_more_and_fewer_queues_of_the_uplink_while_it_runs(make_bed):
    bed = make_bed(queues=4)
    bed.host.run("ethtool", "-L", "va", "rx", "2", "tx", "2")
    bed.peer.run("ethtool", "-L", "vp", "tx", "2", "rx", "2")
    daemon = bed.start()
    assert daemon.port("va")["queues"] == 2
    with Flood(bed):
        wait_under_load(daemon)
        bed.host.run("ethtool", "-L", "va", "rx", "4")
        bed.peer.run("ethtool", "-L", "vp", "tx", "4")
        daemon.wait_log("va.*4.*queues")
        wait_for(lambda: daemon.port("va")["queues"] == 4, "all are read")
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    before = daemon.rest()["ports"]["va"]["xdp"]["pass_noqueue"]
    with Wire(bed.peer, "vp") as wire:
        for number in range(200):  # flows on all queues
            wire.send(b"\xff" * 6 + wire.mac + b"\x88\xb5" + number.to_bytes(2, "big") + bytes(44))
    assert daemon.rest()["ports"]["va"]["xdp"]["pass_noqueue"] == before


def test_new_mac_of_the_uplink_is_its_own_at_once(bed):
    daemon = bed.start()
    bed.host.ip("link set va address 02:00:00:00:00:77")
    wait_for(lambda: daemon.port("va")["mac"] == "02:00:00:00:00:77", "status shows it")
    assert {row["mac"]: row["port"] for row in daemon.fdb() if row["kind"] == "own"}["02:00:00:00:00:77"] == "va"


# ---- the TAP ----

@pytest.mark.vm
def test_tap_set_down_and_up_goes_on(bed):
    daemon = bed.start()
    with Flood(bed):
        wait_under_load(daemon)
        bed.kern.ip("link set tap0 down")
        wait_for(lambda: not daemon.port("tap0")["up"], "it is seen to be down")
        wait_for(lambda: answers(bed.peers[1], peer_ip(0)), "the rest goes on")
        bed.kern.ip("link set tap0 up")
        wait_for(lambda: daemon.port("tap0")["up"], "it is seen to be up")
    bed.address_tap()
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
    daemon.rest()


@pytest.mark.kernels
def test_tap_deleted_under_traffic_is_made_again(bed):
    daemon = bed.start("--queues", "2")
    mac = bed.kern.mac("tap0")
    for _ in range(scaled(3)):
        since = len(daemon.log)
        with Flood(bed):
            wait_under_load(daemon)
            bed.kern.ip("link del tap0")
            daemon.wait_log("warning: tap0 was deleted", since=since)
            daemon.wait_log("tap0 is back", since=since)
            wait_for(lambda: answers(bed.peers[1], peer_ip(0)), "the rest goes on")
        assert bed.kern.mac("tap0") == mac
        bed.address_tap()
        wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
    assert daemon.port("tap0")["queues"] == 2
    daemon.rest()


def test_tap_whose_name_was_taken_meanwhile_says_why_and_comes_back(bed):
    daemon = bed.start()
    bed.kern.ip("link set tap0 down", "link set tap0 name gone", "link add tap0 type veth peer name other")
    bed.kern.ip("link del gone")
    daemon.wait_log("tap0.*exists and is not a TAP")
    assert daemon.port("tap0")["running"] is False
    done = daemon.cli("port", "set", "tap0", "--queues", "2", check=False)
    assert done.returncode == 1 and "tap0" in done.stderr
    wait_for(lambda: answers(bed.peers[1], peer_ip(0)), "the rest goes on")
    assert len([line for line in daemon.log if "is not a TAP" in line]) == 1
    bed.kern.ip("link del tap0")
    daemon.wait_log("tap0 is back")
    bed.address_tap()
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")


@pytest.mark.kernels
def test_tap_moved_to_another_namespace_under_traffic_goes_on_there(bed):
    daemon = bed.start()
    with Flood(bed):
        wait_under_load(daemon)
        bed.kern.ip(f"link set tap0 netns {bed.host.name}")
        wait_for(lambda: answers(bed.peers[1], peer_ip(0)), "the rest goes on")
        bed.host.ip("link set tap0 up", f"addr add {TAP_IP}/24 dev tap0")
        before = bed.host.counters("tap0")["rx_packets"]
        wait_for(lambda: bed.host.counters("tap0")["rx_packets"] > before + 1000 / PATIENCE, "the flood arrives there")
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
    assert "warning" not in daemon.text(), "it was never missed"
    daemon.rest()
    daemon.stop()
    assert bed.host.link("tap0") is None


@pytest.mark.kernels
def test_tap_that_can_not_be_started_again_at_once_stays_and_goes_on(bed):
    """As its MTU has changed; with no descriptor to be had the new start fails."""
    daemon = bed.start()
    index = bed.kern.link("tap0")["ifindex"]
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    bed.kern.ip("link set tap0 mtu 1400")
    daemon.wait_log("tap0 can't be used: .*Too many open files")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
    daemon.wait_log("tap0 is back")
    link = bed.kern.link("tap0")
    assert (link["ifindex"], link["mtu"]) == (index, 1400)
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0, which has its addresses still")
    daemon.rest()


@pytest.mark.kernels
def test_mtu_of_the_tap_changed_while_it_runs_is_obeyed(bed):
    daemon = bed.start()
    bed.host.ip("link set va mtu 3000")
    bed.peer.ip("link set vp mtu 3000")
    bed.kern.ip("link set tap0 mtu 3000")
    daemon.wait_log("tap0.*MTU 3000")
    wait_for(lambda: bed.peer.run("ping", "-n", "-c", "1", "-W", str(PATIENCE), "-M", "do", "-s", "2972", TAP_IP,
                                  check=False).returncode == 0, "a frame of 3000 bytes crosses")
    daemon.rest()


SIOCSIFMTU = 0x8922


def test_mtu_of_the_tap_changed_again_while_it_is_started_again_for_that_is_obeyed(bed):
    daemon = bed.start()
    with bed.kern, socket.socket() as sock:
        for _ in range(20):
            for mtu in 1400, 1500:  # the second as soon as the first is seen
                since = len(daemon.log)
                fcntl.ioctl(sock, SIOCSIFMTU, struct.pack("16si20x", b"tap0", mtu))
                wait_for(lambda: f"xbridge: tap0 has MTU {mtu} now" in daemon.log[since:], f"MTU {mtu}", pause=0)
    assert daemon.port("tap0")["mtu"] == 1500
    daemon.rest()


def test_tap_that_was_handed_in_and_deleted_is_missed_but_the_rest_goes_on(bed):
    fds = open_tap(bed.kern, "tap0")
    bed.kern.ip("link set tap0 up")
    daemon = bed.start("--tap-fd", str(fds[0]), netns=False, fds=fds)
    os.close(fds[0])
    wait_for(lambda: peers_reach_tap(bed), "both peers reach tap0")
    bed.kern.ip("link del tap0")
    daemon.wait_log("tap0 was deleted.*handed in")
    wait_for(lambda: answers(bed.peers[1], peer_ip(0)), "the rest goes on")
    assert daemon.port("kernel")["running"] is False
