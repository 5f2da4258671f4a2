# SPDX-License-Identifier: BSD-2-Clause
"""Every packet is accounted for, exactly, also where more comes than can be carried (DESIGN.md, 6).

    kern: tap0 ◄── xbridge ──► va ◄── veth ──► vp :peer
                     ▲────────► vb ◄── veth ──► vp :peer2

The beds are quiet: nobody sends anything but the test. What the kernel counts on both sides is held against what
xbridge counts:

    vp: sent = va: rx + rx_missed + dropped by XDP + passed   tap0 in the kernel: received + dropped = tap0: tx
    va: tx   = vp: received + dropped                         tap0 in the kernel: sent = tap0: rx + rx_missed

A group frame that passes counts twice, where the uplink is shared: xbridge gets a copy of it, which is rx or rx_missed.
"""

import json
import signal
import socket
import subprocess
import time

import pytest
from scapy.all import IP, UDP, Ether

from books import Books, lost_in_kernel, lost_inside
from load import NO_STALL, hold_until_sent
from traffic import UDP_SEGMENT, Flows, Task, Wire, ether, tcp_copy, udp_blast, udp_copy, udp_socket
from xbridge import TAP_IP, binary, difference, drops, imbalance, interesting, peer_ip, scaled, wait_for

pytestmark = pytest.mark.both_ways
MB = 1 << 20
FEW_FRAMES = str(2 * 1024 + 64 + 1024)  # the fewest that do for two uplink queues and a virtqueue of 64
WAITING = 6000  # more frames than can wait: in two uplink queues, 2048 each, or two of the TAP, 1000 each


@pytest.mark.parametrize("way", ["to_kernel", "from_kernel"])
@pytest.mark.parametrize("options", [
    pytest.param([], id="default"), pytest.param(["--no-offload"], id="no-offload", marks=pytest.mark.vm),
    pytest.param(["--queues", "4"], id="4-queues"), pytest.param(["--workers", "2", "--queues", "2"], id="2-workers")])
def test_books_balance_after_bounded_traffic(make_bed, options, way):
    bed = make_bed(queues=4, quiet=True)
    bed.start(*options)
    source, target, ip = (bed.peer, bed.kern, TAP_IP) if way == "to_kernel" else (bed.kern, bed.peer, peer_ip())
    books = Books(bed)
    count = scaled(800, least=50)
    udp_copy(source, target, ip, count, 1000)
    change = books.close()
    sender, receiver = (change["udp"][0], change["kern_udp"]) if way == "to_kernel" else (change["kern_udp"], change["udp"][0])
    assert sender["OutDatagrams"] == receiver["InDatagrams"] == count
    into, out = ("va", "tap0") if way == "to_kernel" else ("tap0", "va")
    ports = change["xbridge"]["ports"]
    assert ports[into]["rx_packets"] == ports[out]["tx_packets"] == count
    assert ports[into]["rx_bytes"] == ports[out]["tx_bytes"] == count * (1000 + 8 + 20 + 14)
    assert lost_inside(change) == 0


@pytest.mark.kernels
@pytest.mark.parametrize("way", ["to_kernel", "from_kernel"])
def test_books_balance_after_segmentation_and_joining(make_bed, tx_way, way):
    bed = make_bed(quiet=True)
    bed.start()
    source, target, ip = (bed.peer, bed.kern, TAP_IP) if way == "to_kernel" else (bed.kern, bed.peer, peer_ip())
    books = Books(bed)
    tcp_copy(source, target, ip, scaled(32 * MB))
    change = books.close()["xbridge"]
    if way == "to_kernel":
        assert change["frames_joined"] > 0
    else:
        assert (change["segments_added"] > 0) == (tx_way == "xdp"), "a packet socket takes segments whole"


@pytest.mark.parametrize("way", ["to_kernel", "from_kernel"])
@pytest.mark.parametrize("options", [
    pytest.param(["--frames", FEW_FRAMES, "--queue-size", "64"], id="few-frames"),
    pytest.param(["--queue-size", "64", "--queues", "2"], id="short-rings", marks=pytest.mark.kernels),
])
def test_books_balance_under_overload(make_bed, options, way):
    """A blast into an xbridge with little room, which is held up: what does not arrive is in somebody's books."""
    bed = make_bed(queues=2, quiet=True)
    daemon = bed.start(*options, *NO_STALL)
    source, target, ip = (bed.peer, bed.kern, TAP_IP) if way == "to_kernel" else (bed.kern, bed.peer, peer_ip())
    books = Books(bed)
    count = scaled(60000, least=WAITING + 3000)
    blast = Task(udp_blast, daemon, source, target, ip, count, 600, 8)
    hold_until_sent(daemon, WAITING, source)
    arrived = blast.join()
    change = books.close()
    sender, receiver = (change["udp"][0], change["kern_udp"]) if way == "to_kernel" else (change["kern_udp"], change["udp"][0])
    assert len(set(arrived)) == len(arrived) == receiver["InDatagrams"]
    assert sender["OutDatagrams"] == count
    assert count == len(arrived) + lost_inside(change) + lost_in_kernel(change), interesting(change)
    assert lost_inside(change) if way == "to_kernel" else change["tap"]["tx_dropped"]


@pytest.mark.vm
@pytest.mark.both_ways(in_vm=True)
def test_books_balance_under_overload_both_ways_and_while_queues_change(make_bed):
    bed = make_bed(queues=2, quiet=True)
    daemon = bed.start("--queues", "2", "--queue-size", "64", *NO_STALL)
    books = Books(bed)
    count = scaled(30000, least=WAITING + 3000)
    blasts = [Task(udp_blast, daemon, bed.peer, bed.kern, TAP_IP, count, 600, 8),
              Task(udp_blast, daemon, bed.kern, bed.peer, peer_ip(), count, 600, 8)]
    hold_until_sent(daemon, WAITING, bed.peer, bed.kern)
    for queues in 1, 2, 1, 2:
        daemon.ask("port", "set", "kernel", "--queues", str(queues))
    arrived = sum(len(blast.join()) for blast in blasts)
    change = books.close()
    assert 2 * count == arrived + lost_inside(change) + lost_in_kernel(change), interesting(change)
    assert lost_inside(change) and change["tap"]["tx_dropped"]


def test_what_the_xdp_program_drops_is_received_and_dropped_once(make_bed):
    """With `drop`, and with a limit that lets one in three through: the rest of DESIGN.md's equation is as ever."""
    bed = make_bed(quiet=True)
    daemon = bed.start("--rule", "proto udp dport 7 to drop", "--rule", "proto udp dport 8 to kernel limit 1:10")
    books = Books(bed)
    with Wire(bed.peer, "vp") as wire:
        for port, n in (7, 20), (8, 30):
            wire.send(*[bytes(Ether(dst=bed.kern.mac("tap0"), src=bed.peer.mac("vp")) / IP(src=peer_ip(), dst=TAP_IP) /
                              UDP(dport=port) / bytes(60))] * n)
    change = books.close()
    va = change["xbridge"]["ports"]["va"]
    dropped = drops(change["xbridge"], "va")
    assert dropped["verdict"] == va["xdp"]["drop"] == 20
    assert dropped["limit"] == va["xdp"]["limit"] and 18 <= dropped["limit"] <= 20  # a second may pass meanwhile
    assert va["rx_packets"] == change["wires"][0]["tx_packets"] == 50
    assert va["rx_bytes"] == 50 * (14 + 20 + 8 + 60)
    assert lost_inside(change) == 20 + dropped["limit"]
    text = daemon.cli("stats").stdout
    assert "drop verdict 20" in text and f"drop limit {dropped['limit']}" in text


SOCKET_ROOM = 20000  # group frames, more than fit into the packet socket of a shared uplink: each takes over 400 bytes


@pytest.mark.kernels
def test_books_of_a_shared_uplink_balance_where_its_packet_socket_overflows(make_bed):
    """Group frames pass, and xbridge gets a copy of each, if it takes it in time; what is sent to the uplink passes."""
    bed = make_bed(quiet=True)
    daemon = bed.start(*NO_STALL, uplinks=["va,shared"])
    books = Books(bed)
    own, tap, peer = bed.host.mac("va"), bed.kern.mac("tap0"), bed.peer.mac("vp")

    def frames(dst, n):
        return [ether(dst, peer, bytes(60), ethertype=0x0806)] * n  # what nobody knows, the kernel would count as dropped
    with Wire(bed.peer, "vp") as wire:
        daemon.kill(signal.SIGSTOP)
        try:
            wire.send(*frames("ff:ff:ff:ff:ff:ff", SOCKET_ROOM))
        finally:
            daemon.kill(signal.SIGCONT)
        wire.send(*frames("33:33:00:00:00:05", 30), *frames(own, 20), *frames(tap, 10))
    change = books.close()
    va, sent = change["xbridge"]["ports"]["va"], change["wires"][0]["tx_packets"]
    assert sent == SOCKET_ROOM + 60
    assert (va["xdp"]["pass_group"], va["xdp"]["pass_own"], va["xdp"]["redirect"]) == (SOCKET_ROOM + 30, 20, 10)
    assert sent == va["rx_packets"] + va["rx_missed"] + va["xdp"]["pass_own"]
    assert va["rx_missed"] > 0 and va["rx_packets"] > 40


@pytest.mark.kernels
def test_flooding_over_two_uplinks_is_counted_as_copies(make_bed):
    bed = make_bed(uplinks=2, quiet=True)
    bed.start()
    books = Books(bed)
    with Wire(bed.peers[0], "vp") as one, Wire(bed.peers[1], "vp") as two, Wire(bed.kern, "tap0") as tap:
        senders = {one: bed.peers[0].mac("vp"), two: bed.peers[1].mac("vp"), tap: bed.kern.mac("tap0")}
        for sender, mac in senders.items():
            for dst in "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:05", "02:00:00:00:99:99":
                sender.send(*[ether(dst, mac, f"{mac} to {dst}, {i:4}".encode() + bytes(30)) for i in range(20)])
                for receiver in senders:
                    if receiver is not sender:
                        receiver.expect(f"{mac} to {dst},   19".encode())
    change = books.close()["xbridge"]
    assert change["copies"] == 3 * 3 * 20
    for port in "tap0", "va", "vb":
        assert change["ports"][port]["rx_packets"] == 60
        assert change["ports"][port]["tx_packets"] == 120
    assert sum(p["rx_packets"] for p in change["ports"].values()) + change["copies"] == 360


def test_a_copy_for_which_there_is_no_frame_is_a_drop(make_bed):
    """Large segments to an address that nobody may learn are flooded: each copy takes as many frames as the segment."""
    bed = make_bed(uplinks=2, quiet=True)
    daemon = bed.start("--frames", FEW_FRAMES, "--queue-size", "64")
    daemon.ask("port", "set", "va", "--learn-max", "0")
    books = Books(bed)
    flows = Flows(bed.kern, bed.peer, peer_ip(), 8)
    with udp_socket(bed.peer, peer_ip()) as receiver, udp_socket(bed.kern, peer_ip()) as sender:
        sender.connect((peer_ip(), receiver.getsockname()[1]))
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1400)

        def a_burst_meets_no_frame():
            for _ in range(50):  # TCP sends small segments where all is slow; these are large anyway, if the TAP takes them
                sender.send(bytes(44 * 1400))
            return drops(daemon.stats(), "tap0").get("no_frame")
        wait_for(a_burst_meets_no_frame, "there is no frame for a copy", 30)
        flows.stop()
        change = books.close()["xbridge"]
    assert set(drops(change, "tap0")) == {"no_frame"}
    assert change["copies"] == change["ports"]["tap0"]["rx_packets"]


def test_a_group_frame_that_is_too_long_for_the_copy_is_a_drop_that_counts(make_bed):
    """Datagrams of many segments to a group, at a shared uplink that sees them before they are cut (generic XDP)."""
    bed = make_bed(quiet=True)
    daemon = bed.start(uplinks=["va,shared,xdp=generic"])
    bed.peer.ip("route add 224.0.0.0/4 dev vp")
    before = daemon.rest()
    with udp_socket(bed.peer, peer_ip()) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        for _ in range(5):
            sender.sendto(bytes(8000), ("239.1.2.3", 4000))
    change = difference(daemon.rest(), before)
    assert drops(change, "va") == {"too_long": 5}
    assert change["ports"]["va"]["rx_packets"] == 5


# ---- the counters, again and again ----

def next_document(stream):
    """The next of several JSON documents, one a line, without what is about the moment."""
    line = stream.readline()
    assert line, "it has ended"
    return {name: value for name, value in json.loads(line).items() if name not in ("time", "rates")}


def test_watched_stats_are_told_each_second_until_the_daemon_ends(make_bed):
    bed = make_bed(quiet=True)
    daemon = bed.start()
    command = bed.in_host(binary(), "stats", "--watch", "--json", "--name", daemon.name)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=bed.env) as watch:
        before = next_document(watch.stdout)
        with Wire(bed.peer, "vp") as wire:
            wire.send(*[ether("ff:ff:ff:ff:ff:ff", bed.peer.mac("vp"), bytes(60))] * 7)
        counted = daemon.rest()
        next_document(watch.stdout)  # may be from before
        began = time.monotonic()
        after = next_document(watch.stdout)
        assert 0.5 < time.monotonic() - began < 5
        assert difference(after, before)["ports"]["va"]["rx_packets"] == 7
        assert after == counted
        daemon.stop()
        assert watch.wait(10) == 1


def test_counters_begin_at_nothing_and_the_books_still_balance(make_bed):
    """Reset at rest, and again and again under traffic in both directions, some of which a rule counts and drops."""
    bed = make_bed(quiet=True)
    daemon = bed.start("--rule", "in va proto udp dport 9 to drop", "--rule", "in kernel proto udp dport 9 to drop limit 50")
    with Wire(bed.peer, "vp") as wire, Wire(bed.kern, "tap0") as tap:
        frames = [bytes(Ether(src="02:00:00:00:55:01", dst="02:00:00:00:55:99") / IP() / UDP(dport=dport)) for dport in (9, 10)]

        def send():
            wire.send(*frames * 50)
            tap.send(*frames * 50)
        send()
        daemon.rest()
        daemon.cli("stats", "reset")
        stats = daemon.stats()
        for port in stats["ports"].values():
            assert not port["rx_packets"] + port["tx_packets"] + sum(port["drops"].values()) + sum(port.get("xdp", {}).values())
        assert not any(rule["packets"] for rule in daemon.ask("steer", "list", "-s")["rules"])
        for _ in range(20):
            send()
            daemon.ask("stats", "reset")
        send()
        stats = daemon.rest()
    assert 0 <= stats["in_flight_at_reset"] < 1 << 20
    assert imbalance(stats) == 0, interesting(stats)
    assert stats["ports"]["va"]["drops"]["verdict"] >= 50
