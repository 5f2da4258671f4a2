# SPDX-License-Identifier: BSD-2-Clause
"""Frames that XDP redirects and the kernel then drops, without a word: noticed, passed on, reported, tried again.

    kern: tap0 ◄── xbridge ──► va ◄── veth ──► vp :peer
                                └── the frames of a queue that delivers nothing: va's own stack
"""

import contextlib
import ctypes
import os
import signal
import socket
import threading
import time

import pytest

from traffic import Wire, ether
from xbridge import IN_VM, PATIENCE, PIN_ROOT, TAP_IP, difference, peer_ip, wait_for

AF_XDP, SOL_XDP, XDP_RX_RING = 44, 283, 2
RING = 2048  # frames that an uplink keeps posted for a queue: XB_UPLINK_RING_DEFAULT
SYS_BPF, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET = 321, 2, 7
NOTICED_S = 2 * PATIENCE + 0.5

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, *words):
    """bpf(2) with an attribute of 64-bit words."""
    attr = (ctypes.c_uint64 * 16)(*words)
    result = _libc.syscall(SYS_BPF, command, attr, ctypes.sizeof(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


@contextlib.contextmanager
def wrong_socket(bed, queue=0):
    """A socket that is bound to nothing, in a queue's place of the map: what is redirected to it vanishes."""
    path = ctypes.create_string_buffer(f"{PIN_ROOT}/{bed.name}/internal/xsks".encode())
    with socket.socket(AF_XDP, socket.SOCK_RAW) as sock:
        sock.setsockopt(SOL_XDP, XDP_RX_RING, 64)
        xsks = bpf(BPF_OBJ_GET, ctypes.addressof(path))
        try:
            key, value = ctypes.c_uint32(queue), ctypes.c_uint32(sock.fileno())
            bpf(BPF_MAP_UPDATE_ELEM, xsks, ctypes.addressof(key), ctypes.addressof(value), 0)
        finally:
            os.close(xsks)
        yield


class Stream:
    """Frames from the peer to tap0, one each hundredth of a second, beside what the test does."""

    def __init__(self, bed):
        self.bed, self.sent, self.over = bed, 0, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        with Wire(self.bed.peer, "vp") as wire:
            dst, src = self.bed.kern.mac("tap0"), self.bed.peer.mac("vp")
            while not self.over.wait(0.01):
                wire.send(ether(dst, src, b"frame %6d" % self.sent + bytes(50)))
                self.sent += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def troubles(daemon, name="va"):
    return [trouble["text"] for trouble in daemon.port(name)["troubles"]]


def test_frames_that_vanish_are_noticed_and_pass_until_they_arrive_again(make_bed):
    bed = make_bed(quiet=True)
    daemon = bed.start("--default", "kernel")
    before = daemon.rest()["ports"]["va"]
    assert not troubles(daemon)
    with Wire(bed.host, "va") as own, Stream(bed) as stream:
        wait_for(lambda: stream.sent > 10, "some frames arrive")
        with wrong_socket(bed):
            began = time.monotonic()
            daemon.wait_log("warning: uplink va: what XDP redirects from queue 0 does not arrive", 20)
            assert time.monotonic() - began < NOTICED_S
            own.expect(b"frame ")
            assert len(troubles(daemon)) == 1 and "pass_undelivered" in troubles(daemon)[0]
            assert "trouble: what XDP redirects" in daemon.cli("status").stdout
            finding = [f for f in daemon.doctor("va") if f["check"] == "running"]
            assert finding[0]["state"] == "warn" and "does not arrive" in finding[0]["text"] and finding[0]["remedy"]
            daemon.wait_log("uplink va: what XDP redirects from queue 0 arrives again", 20)
        assert not troubles(daemon)
        assert [f["state"] for f in daemon.doctor("va") if f["check"] == "running"] == ["ok"]
        assert len([line for line in daemon.log if "does not arrive" in line]) == 1
    change = difference(daemon.rest()["ports"]["va"], before)
    xdp = change["xdp"]
    assert xdp["pass_undelivered"] > 0
    assert xdp["redirect"] + xdp["pass_undelivered"] == stream.sent
    assert change["rx_packets"] + change["rx_missed"] == xdp["redirect"], "what has vanished is counted"
    assert change["rx_missed"] > 0


def test_a_queue_that_is_stalled_is_not_taken_for_one_that_loses(make_bed):
    """The workers stand still, the ring runs full: that is counted by the socket, and no trouble of this kind."""
    bed = make_bed(quiet=True)
    daemon = bed.start("--default", "kernel", "--stall-ms", "60000")
    with Wire(bed.peer, "vp") as wire:
        daemon.kill(signal.SIGSTOP)
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            wire.send(*[ether(bed.kern.mac("tap0"), bed.peer.mac("vp"), bytes(60))] * 6000)
        finally:
            daemon.kill(signal.SIGCONT)
        port = daemon.rest()["ports"]["va"]
        assert (port["rx_packets"], port["rx_missed"]) == (RING, 6000 - RING)
        with Stream(bed) as stream:
            wait_for(lambda: stream.sent > 300, "some looks", 30)
    assert "does not arrive" not in daemon.text()


# ---- bonds ----

QUEUES = "numrxqueues", "2", "numtxqueues", "2"

def bond(bed, mode="active-backup", *words):
    """Puts va and a second pair between host and peer into a bond on either side: bond0, whose peer is bp0."""
    done = bed.host.run("ip", "link", "add", "bond0", *QUEUES, "type", "bond", "mode", mode, "miimon", "20", *words,
                        check=False)
    if "Unknown device type" in done.stderr or "not supported" in done.stderr:
        pytest.skip("this kernel has no bonds")
    assert done.returncode == 0, done.stderr
    bed.peer.run("ip", "link", "add", "bp0", *QUEUES, "type", "bond", "mode", mode, "miimon", "20", *words)
    bed.host.ip(f"link add vx type veth peer name vy netns {bed.peer.name}")
    for ns, name, members in ((bed.host, "bond0", ("va", "vx")), (bed.peer, "bp0", ("vp", "vy"))):
        ns.ip(*[f"link set {member} down" for member in members],
              *[f"link set {member} master {name}" for member in members],
              *[f"link set {member} up" for member in members], f"link set {name} up")
    bed.peer.ip("addr flush dev vp", f"addr add {peer_ip()}/24 dev bp0")
    wait_for(lambda: "UP" in bed.host.link("bond0")["flags"] and bed.host.link("bond0")["operstate"] == "UP", "the bond is up")


def unbond(bed):
    for daemon in bed.daemons:
        daemon.stop()
    for ns, name in ((bed.host, "bond0"), (bed.peer, "bp0")):
        ns.ip(f"link del {name}")


@pytest.fixture
def bonded(make_bed):
    bed = make_bed()
    bond(bed)
    yield bed
    unbond(bed)


@pytest.fixture
def bonded_by_lacp(make_bed):
    bed = make_bed()
    bond(bed, "802.3ad", "lacp_rate", "fast")
    yield bed
    unbond(bed)


def pings(bed):
    return bed.peer.run("ping", "-c", "1", "-W", str(PATIENCE), TAP_IP, check=False).returncode == 0


@pytest.mark.vm
def test_a_bond_gets_generic_xdp_and_delivers(bonded):
    daemon = bonded.start(uplinks=["bond0,dedicated"])
    daemon.wait_log("uplink bond0: is a bond; XDP runs above it")
    assert daemon.port("bond0")["xdp"] == "generic"
    wait_for(lambda: pings(bonded), "ping through the bond", 20)
    assert not troubles(daemon, "bond0")
    (finding,) = [f for f in daemon.doctor("bond0") if f["check"] == "xdp"]
    assert finding["state"] == "note" and "generic mode" in finding["text"]
    assert daemon.rest()["ports"]["bond0"]["rx_packets"] > 0


@pytest.mark.vm
def test_with_all_members_as_uplinks_broadcasts_go_back_unless_the_default_is_the_kernel_as_doctor_says(bonded):
    bed = bonded
    daemon = bed.start(uplinks=["va,dedicated", "vx,dedicated"])
    (finding,) = [f for f in daemon.doctor("bond0") if f["check"] == "xdp"]
    assert "no failover" in finding["remedy"] and "want --default kernel" in finding["remedy"]
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire, Wire(bed.peer, "vy") as other:
        def broadcast(word):
            wire.send(ether("ff:ff:ff:ff:ff:ff", "02:00:00:00:55:01", word + bytes(60)))
            tap.expect(word)
            daemon.rest()
        broadcast(b"comes back")
        other.expect(b"comes back")
        daemon.cli("steer", "default", "kernel")
        broadcast(b"stays here")
        assert not any(b"stays here" in frame for frame in other.drain())


@pytest.mark.vm
def test_of_a_bond_doctor_says_what_is_so_in_generic_mode(bonded):
    """Its LRO, which is on, goes off when a program comes; and frames may come joined from a member."""
    def lro():
        said = bonded.host.run("ethtool", "-k", "bond0").stdout
        return next(line.split()[1] for line in said.splitlines() if line.startswith("large-receive-offload:"))

    def merging(daemon):
        return [(f["state"], f["text"].partition(",")[0]) for f in daemon.doctor("bond0") if f["check"] == "merging"]
    told = [("note", "XDP runs in generic mode here; if the peer of va")]
    daemon = bonded.start(uplinks=[])
    assert (lro(), merging(daemon)) == ("on", told)
    daemon.stop()
    bonded.daemons.remove(daemon)
    daemon = bonded.start(uplinks=["bond0,dedicated"])
    assert (lro(), merging(daemon)) == ("off", told)


@pytest.mark.vm
def test_a_bond_loses_vlan_tags_and_a_vlan_device_on_it_has_the_frames_of_its_vlan(bonded):
    bed = bonded
    with Wire(bed.peer, "bp0") as wire:
        def arrives(daemon, tags, then):
            ends = bed.kern.mac("tap0"), bed.peer.mac("bp0")
            with Wire(bed.kern, "tap0") as tap:
                wire.send(ether(*ends, b"in a VLAN" + bytes(60), tags=tags))
                tap.expect(ether(*ends, b"in a VLAN" + bytes(60), tags=then))
            return daemon.rest()

        bed.host.run("ethtool", "-K", "bond0", "rxvlan", "off")  # which changes nothing
        daemon = bed.start(uplinks=["bond0,dedicated"])
        daemon.wait_log("warning: uplink bond0: VLAN tags are lost before XDP .*: use what lies below bond0")
        (finding,) = [f for f in daemon.doctor("bond0") if f["check"] == "vlan"]
        assert daemon.port("bond0")["loses_vlan_tags"] and finding["state"] == "warn"
        arrives(daemon, [10], [])
        daemon.stop()
        bed.daemons.remove(daemon)

        bed.host.ip(*finding["remedy"].partition("ip ")[2:], "link set bond0.10 up")
        daemon = bed.start(uplinks=["bond0.10,dedicated"])
        assert "VLAN tags" not in daemon.text() and not daemon.port("bond0.10")["loses_vlan_tags"]
        arrives(daemon, [10], [])
        arrives(daemon, [10, 20], [20])


@pytest.mark.vm
def test_members_that_are_dedicated_are_warned_of_and_a_rule_leaves_lacp_to_the_bond(bonded_by_lacp):
    bed = bonded_by_lacp
    daemon = bed.start(uplinks=["va,dedicated", "vx,dedicated"])
    said = daemon.wait_log("warning: uplink vx: is dedicated, and a member of bond0.*LACP.* a rule: `(.*)`")
    (finding,) = [f for f in daemon.doctor("va") if f["check"] == "sharing" and f["state"] != "ok"]
    assert finding["state"] == "warn" and "member of bond0" in finding["text"] and said[1] in finding["remedy"]
    wait_for(lambda: all(daemon.stats()["ports"][name]["drops"]["reserved"] for name in ("va", "vx")), "LACP is taken", 20)
    daemon.cli("steer", "add", said[1])
    wait_for(lambda: daemon.ask("steer", "list", "-s")["rules"][0]["packets"] > 2, "LACP passes", 20)
    wait_for(lambda: bed.host.link("bond0")["linkinfo"]["info_data"]["ad_info"]["partner_mac"] == bed.peer.mac("bp0"), "the bond has its partner", 20)


@pytest.mark.vm
def test_a_bond_that_is_used_natively_is_noticed_and_passes(bonded):
    if not IN_VM:
        pytest.skip("runs in a VM")
    bed = bonded
    daemon = bed.start(uplinks=["bond0,dedicated,xdp=native"])
    assert daemon.port("bond0")["xdp"] == "native"
    daemon.wait_log("uplink bond0: is a bond; the kernel drops")
    with Wire(bed.host, "bond0") as own, Wire(bed.peer, "bp0") as wire:
        began = time.monotonic()

        def noticed():
            wire.send(ether(bed.kern.mac("tap0"), bed.peer.mac("bp0"), b"to nobody" + bytes(50)))
            return any("does not arrive" in line for line in daemon.log)
        wait_for(noticed, "what vanishes is noticed", 20, pause=0.05)
        assert time.monotonic() - began < NOTICED_S
        own.drain()
        wire.send(ether(bed.kern.mac("tap0"), bed.peer.mac("bp0"), b"passes now" + bytes(50)))
        own.expect(b"passes now")
    assert "leave out xdp=native" in daemon.port("bond0")["troubles"][0]["remedy"]
