# SPDX-License-Identifier: BSD-2-Clause
"""Several queues: all of them carry traffic, and their number changes while traffic runs.

    kern: tap0, N queue pairs ◄── xbridge ──► va, 4 queues ◄── veth ──► vp, 4 queues :peer
"""

import contextlib
import socket
import threading

import pytest

from books import passed
from load import NO_STALL, held_thread, hold_until_sent
from traffic import UDP_SEGMENT, Flows, Task, udp_blast, udp_flows, udp_socket
from xbridge import BACKEND, IN_VM, TAP_IP, difference, imbalance, interesting, peer_ip, scaled, wait_for

FLOWS = 64
WAITING = 12000  # more frames than can wait in four queues: 2048 each of the uplink, 1000 and a ring's each of the TAP


def used_queues(after, before, port, way):
    queues = {q["queue"]: q[f"{way}_packets"] for q in after["ports"][port]["queues"]}
    earlier = {q["queue"]: q[f"{way}_packets"] for q in before["ports"][port]["queues"]}
    return {queue for queue, n in queues.items() if n > earlier.get(queue, 0)}


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed(queues=4)
    bed.start("--queues", "4")
    return bed


@pytest.mark.vm
def test_many_flows_from_the_wire_use_all_four_queues(bed):
    before = bed.daemon.rest()
    udp_flows(bed.peer, bed.kern, TAP_IP, FLOWS, 4)
    after = bed.daemon.rest()
    assert used_queues(after, before, "va", "rx") == {0, 1, 2, 3}
    assert used_queues(after, before, "tap0", "tx") == {0, 1, 2, 3}


@pytest.mark.vm
def test_many_flows_from_the_kernel_use_all_four_queues(bed):
    before = bed.daemon.rest()
    udp_flows(bed.kern, bed.peer, peer_ip(), FLOWS, 4)
    after = bed.daemon.rest()
    assert used_queues(after, before, "tap0", "rx") == {0, 1, 2, 3}
    assert used_queues(after, before, "va", "tx") == {0, 1, 2, 3}


def test_four_workers_send_on_four_queues(make_bed):
    bed = make_bed(queues=4)
    daemon = bed.start("--queues", "4", "--workers", "4")
    before = daemon.rest()
    udp_flows(bed.peer, bed.kern, TAP_IP, FLOWS, 2)
    udp_flows(bed.kern, bed.peer, peer_ip(), FLOWS, 2)
    after = daemon.rest()
    for port in "tap0", "va":
        for way in "rx", "tx":
            assert used_queues(after, before, port, way) == {0, 1, 2, 3}, (port, way)


@pytest.mark.kernels
@pytest.mark.parametrize("way", ["to_kernel", "from_kernel"])
def test_tcp_goes_on_while_the_number_of_queues_changes(bed, way):
    daemon = bed.daemon
    source, target, ip = (bed.peer, bed.kern, TAP_IP) if way == "to_kernel" else (bed.kern, bed.peer, peer_ip())
    flows = Flows(source, target, ip, 4 if IN_VM else 8)
    for queues in (2, 4) if IN_VM else (2, 4, 1, 4):
        daemon.cli("port", "set", "kernel", "--queues", str(queues))
        assert daemon.port("kernel")["queues"] == queues
        moved = list(flows.progress)
        wait_for(lambda: flows.all_moved_since(moved), f"all flows go on with {queues} queues", 20)
    flows.stop()
    daemon.rest()


def lost_on_the_way(change, after, before):
    """Packets that the daemon or the kernel say that they have lost, or that went to the uplink's own stack."""
    ports = change["ports"].values()
    lost = sum(p["rx_missed"] + sum(p["drops"].values()) for p in ports) + passed(change["ports"]["va"])
    return lost + sum(after[name] - before[name] for name in after)


def kernel_counters(bed):
    tap, wire = bed.kern.counters("tap0"), bed.peer.counters("vp")
    return {"tap_tx_dropped": tap["tx_dropped"] + tap["tx_errors"], "tap_rx_dropped": tap["rx_dropped"] + tap["rx_errors"],
            "vp_tx_dropped": wire["tx_dropped"] + wire["tx_errors"], "va_tx_dropped": bed.host.counters("va")["tx_dropped"]}


@pytest.mark.vm
@pytest.mark.parametrize("way", [pytest.param("to_kernel", marks=pytest.mark.dear), "from_kernel"])
def test_what_is_lost_while_the_number_of_queues_changes_is_counted(make_bed, way):
    """Numbered datagrams, more than can be carried, before, during and after each change: what has not arrived is in some
    counter, to the packet."""
    bed = make_bed(queues=4, quiet=True)
    daemon = bed.start("--queues", "4", *NO_STALL)
    source, target, ip = (bed.peer, bed.kern, TAP_IP) if way == "to_kernel" else (bed.kern, bed.peer, peer_ip())
    count = scaled(40000, least=WAITING + 4000)
    before, counted = daemon.rest(), kernel_counters(bed)
    overflow, sent = target.snmp()["RcvbufErrors"], source.snmp()["OutDatagrams"]
    way_out = "tap0" if way == "to_kernel" else "va"
    changed = threading.Event()

    def crossed():
        return daemon.stats()["ports"][way_out]["tx_packets"]

    def switch():
        for queues in 2, 4, 3, 1, 4:
            then = crossed()
            daemon.ask("port", "set", "kernel", "--queues", str(queues))
            wait_for(lambda: crossed() > then, f"packets cross with {queues} queues")  # pylint: disable=cell-var-from-loop
    blast = Task(udp_blast, daemon, source, target, ip, count, 200, 16, changed)
    try:
        hold_until_sent(daemon, WAITING, source)
        switch()
    finally:
        changed.set()
    arrived = blast.join()
    wait_for(lambda: daemon.rest()["in_flight"] == 0, "all that was sent is given back")
    change = difference(daemon.stats(), before)
    assert len(set(arrived)) == len(arrived), "some came twice"
    overflow, sent = target.snmp()["RcvbufErrors"] - overflow, source.snmp()["OutDatagrams"] - sent
    assert sent >= count
    missing = sent - len(arrived) - overflow
    assert missing == lost_on_the_way(change, kernel_counters(bed), counted), interesting(change)
    assert missing > 0
    assert change["ports"]["tap0"]["rx_missed"] == 0, "what a queue holds is delivered before it goes"


def flow_on(bed, queue, receiver):
    """A socket in `kern` whose datagrams leave by that queue of tap0."""
    target = (peer_ip(), receiver.getsockname()[1])

    def taken():
        return bed.daemon.rest()["ports"]["tap0"]["queues"][queue]["rx_packets"]
    for _ in range(64):
        sender = udp_socket(bed.kern, peer_ip())
        sender.connect(target)
        before = taken()
        sender.send(b"which?")
        assert receiver.recv(65536) == b"which?"
        if taken() > before:
            return sender
        sender.close()
    raise AssertionError(f"no flow leaves by queue {queue}")


def waiting(sock):
    """The datagrams that a socket has received already."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            yield sock.recv(65536)


@pytest.mark.vm
@pytest.mark.parametrize("bursts", [(60,), (60, 20)], ids=["what the ring holds", "more"])
def test_a_queue_that_goes_is_emptied_first_however_late_its_worker_is(make_bed, bursts):
    """As many packets as the ring has room for, and some more, that vhost-net has to keep. Nothing may be lost."""
    bed = make_bed(quiet=True)
    daemon = bed.start("--queues", "2", "--queue-size", "64", "--workers", "1", *NO_STALL)
    bed.kern.run("ethtool", "-K", "tap0", "tx-udp-segmentation", "off")  # the kernel makes one packet of each segment
    with udp_socket(bed.peer, peer_ip()) as receiver, flow_on(bed, 1, receiver) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        with held_thread(daemon, "xb-worker-0"):
            full = bed.kern.counters("tap0")["tx_packets"] + bursts[0]
            for packets in bursts:
                sender.send(bytes(100 * packets))
                # what vhost-net has no room for waits in the TAP, and so does all where nobody but the worker reads it
                wait_for(lambda: BACKEND != "vhost-net" or bed.kern.counters("tap0")["tx_packets"] >= full, "the ring is filled")
            change = Task(daemon.ask, "port", "set", "kernel", "--queues", "1")
            wait_for(lambda: daemon.port("kernel")["doing"], "the change is under way")
        change.join()
        assert daemon.rest()["ports"]["tap0"]["rx_missed"] == 0
        assert sum(1 for _ in waiting(receiver)) == sum(bursts)


@pytest.mark.vm
def test_sixteen_queues_work(make_bed):
    bed = make_bed(queues=4)
    daemon = bed.start("--queues", "16")
    assert daemon.port("kernel")["queues"] == 16
    before = daemon.rest()
    udp_flows(bed.kern, bed.peer, peer_ip(), FLOWS * 2, 2)
    udp_flows(bed.peer, bed.kern, TAP_IP, FLOWS, 2)
    after = daemon.rest()
    assert len(used_queues(after, before, "tap0", "rx")) >= 12
    assert imbalance(after) == 0


@pytest.mark.parametrize("words, status, says", [
    (["kernel", "--queues", "0"], 2, "number"),
    (["kernel", "--queues", "x"], 2, "number"),
    (["va", "--queues", "2"], 1, "ethtool -L va"),
    (["nobody", "--queues", "2"], 1, "nobody"),
])
def test_a_change_that_makes_no_sense_is_refused(bed, words, status, says):
    done = bed.daemon.cli("port", "set", *words, check=False)
    assert done.returncode == status and says in done.stderr
    assert bed.daemon.port("kernel")["queues"] == 4
