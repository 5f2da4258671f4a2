# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's side is there before: a persistent TAP, or descriptors that were handed in. No capability is needed."""

import json
import os
import socket

import pytest

from handed_in import attach, open_macvtap, open_tap
from load import Wire, answers
from xbridge import BACKEND, RUN_DIR, TAP_IP, drops, peer_ip, wait_for

NO_CAPS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
# another user, who may open /dev/net/tun and /dev/vhost-net (not everywhere so by itself) and write to /run/xbridge
NOBODY = ["sh", "-c", f"""
    open_to_all() {{ mknod {RUN_DIR}/dev c 10 $1 && chmod 666 {RUN_DIR}/dev && mount --bind {RUN_DIR}/dev $2 && rm {RUN_DIR}/dev; }}
    mkdir -p {RUN_DIR} && mount -t tmpfs -o uid=65534 tmpfs {RUN_DIR} && open_to_all 200 /dev/net/tun &&
    {{ [ ! -e /dev/vhost-net ] || open_to_all 238 /dev/vhost-net; }} && exec "$@"
    """, "sh", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]

BACKENDS = ["tap", pytest.param("vhost-net", marks=[pytest.mark.vm, pytest.mark.vhost])]


@pytest.fixture
def bed(make_bed):
    """Nothing but a namespace for the TAP."""
    return make_bed(uplinks=0, tap_in_host=True)


def ask(daemon, *words):
    """As Daemon.ask, of one that has a /run of its own."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"/proc/{daemon.pid}/root{RUN_DIR}/{daemon.name}.sock")
        sock.sendall(json.dumps({"argv": words}).encode() + b"\n")
        return json.loads(sock.makefile().readline())["result"]


def no_capability(daemon):
    with open(f"/proc/{daemon.pid}/status") as file:
        return "CapPrm:\t0000000000000000" in file.read()


def check_works(bed, daemon, ifname, link):
    """It reads what the kernel sends: with a single port, that is dropped for want of another."""
    assert no_capability(daemon)
    with Wire(bed.host, link) as wire:
        for _ in range(10):
            wire.send(b"\xff" * 6 + wire.mac + b"\x88\xb5" + bytes(46))
    wait_for(lambda: drops(ask(daemon, "stats"), ifname).get("no_port", 0) >= 10, "frames arrive")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrap, owner", [(NO_CAPS, 0), (NOBODY, 65534)], ids=["root", "nobody"])
def test_existing_persistent_tap_works_without_capability(bed, wrap, owner, backend):
    bed.host.ip(f"tuntap add tap0 mode tap multi_queue user {owner}", "link set tap0 up")
    daemon = bed.start(backend=backend, uplinks=[], wrap=wrap, addresses=False)
    assert ask(daemon, "status")["ports"][0]["backend"] == backend
    check_works(bed, daemon, "tap0", "tap0")
    daemon.stop()
    assert bed.host.link("tap0"), "it was there before, and stays"
    bed.host.ip("link del tap0")


def test_existing_persistent_tap_that_is_down_is_said_and_works_once_it_is_up(bed):
    bed.host.ip("tuntap add tap0 mode tap multi_queue user 0")
    daemon = bed.start("--tap", backend=None, uplinks=[], wrap=NO_CAPS, addresses=False)
    daemon.wait_log("tap0 is down: bring it up")
    bed.host.ip("link set tap0 up")
    wait_for(lambda: ask(daemon, "status")["ports"][0]["up"], "it is seen to be up")
    check_works(bed, daemon, "tap0", "tap0")
    daemon.stop()
    bed.host.ip("link del tap0")


@pytest.mark.parametrize("wrap", [NO_CAPS, NOBODY], ids=["root", "nobody"])
def test_tap_handed_in_works_without_capability(bed, wrap):
    fds = open_tap(bed.host, "mytap", queues=2)
    bed.host.ip("link set mytap up")
    daemon = bed.start("--tap", "--queues", "2", "--tap-fd", ",".join(map(str, fds)), backend=None, uplinks=[],
                       wrap=wrap, fds=fds, addresses=False)
    for fd in fds:
        os.close(fd)
    check_works(bed, daemon, "mytap", "mytap")
    daemon.stop()
    wait_for(lambda: not bed.host.link("mytap"), "it goes with the last descriptor")


def test_tap_handed_in_is_not_touched(bed):
    fds = open_tap(bed.host, "mytap")
    bed.host.ip("link set mytap address 02:00:00:00:00:05 mtu 1300")
    daemon = bed.start("--tap", "--tap-fd", str(fds[0]), backend=None, uplinks=[], fds=fds, addresses=False)
    link = bed.host.link("mytap")
    assert (link["address"], link["mtu"], "UP" in link["flags"]) == ("02:00:00:00:00:05", 1300, False)
    daemon.wait_log("mytap is down: bring it up")
    assert ask(daemon, "status")["ports"][0]["mac"] == "02:00:00:00:00:05"
    daemon.stop()
    assert bed.host.link("mytap"), "our own descriptor holds it"
    os.close(fds[0])


def test_all_queues_handed_in_are_used(bed):
    fds = open_tap(bed.host, "mytap", queues=3)
    daemon = bed.start("--tap", "--tap-fd", ",".join(map(str, fds)), backend=None, uplinks=[], fds=fds, addresses=False)
    for fd in fds:
        os.close(fd)
    assert daemon.port("mytap")["queues"] == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_macvtap_handed_in_works_without_capability(bed, tmp_path, backend):
    bed.host.ip("link add lower type veth peer name far", "link set lower up", "link set far up")
    fd = open_macvtap(bed.host, "mv0", "lower", tmp_path)
    daemon = bed.start("--tap-fd", str(fd), backend=backend, uplinks=[], wrap=NO_CAPS, fds=[fd], addresses=False)
    os.close(fd)
    assert ask(daemon, "status")["ports"][0]["backend"] == backend
    check_works(bed, daemon, "mv0", "far")
    daemon.stop()
    bed.host.ip("link del lower")


@pytest.mark.vm
@pytest.mark.vhost
@pytest.mark.parametrize("wrap", [NO_CAPS, NOBODY], ids=["root", "nobody"])
def test_tap_and_vhost_handed_in_work_without_capability(bed, wrap):
    fds = open_tap(bed.host, "mytap") + [os.open("/dev/vhost-net", os.O_RDWR)]
    bed.host.ip("link set mytap up")
    daemon = bed.start("--vhost-net", "--tap-fd", str(fds[0]), "--vhost-fd", str(fds[1]), backend=None, uplinks=[],
                       wrap=wrap, fds=fds, addresses=False)
    for fd in fds:
        os.close(fd)
    assert ask(daemon, "status")["ports"][0]["backend"] == "vhost-net"
    check_works(bed, daemon, "mytap", "mytap")


def test_tap_handed_in_bridges_to_an_uplink(make_bed):
    bed = make_bed()
    fds = open_tap(bed.kern, "tap0")
    bed.kern.ip("link set tap0 up")
    options = ["--tap-fd", str(fds[0])]
    if BACKEND == "vhost-net":
        fds.append(os.open("/dev/vhost-net", os.O_RDWR))
        options += ["--vhost-fd", str(fds[1])]
    daemon = bed.start(*options, netns=False, fds=fds)
    for fd in fds:
        os.close(fd)
    assert answers(bed.peer, TAP_IP) and answers(bed.kern, peer_ip())
    daemon.rest()


@pytest.mark.parametrize("kind, text", [
    ("closed", "descriptor 900 as a TAP queue: Bad file descriptor; it has to be an open, inherited descriptor"),
    ("file", "as a TAP queue: Inappropriate ioctl for device; it has to be an open, inherited descriptor"),
    ("unattached", "as a TAP queue: File descriptor in bad state; it is open, but not attached"),
    ("tun", "is a TUN, not a TAP"), ("plain", "lacks IFF_VNET_HDR"), ("twice", "was handed in twice")])
def test_descriptor_that_is_no_queue_of_a_tap_is_told(bed, tmp_path, kind, text):
    with bed.host:
        fd = os.open("/dev/net/tun" if kind != "file" else str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
        if kind in ("tun", "plain", "twice"):
            attach(fd, "mytap", {"tun": 0x5001, "plain": 0x1002, "twice": 0x5102}[kind])
    same = os.dup(fd)
    numbers = {"closed": "900", "twice": f"{fd},{same}"}.get(kind, str(fd))
    daemon = bed.start("--tap", "--tap-fd", numbers, backend=None, uplinks=[], fds=[fd, same], ready=False)
    assert daemon.wait_exit() == 1
    os.close(fd)
    os.close(same)
    assert text in daemon.log[-1]
