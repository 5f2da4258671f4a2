# SPDX-License-Identifier: BSD-2-Clause
"""Rate limits of a running daemon, charged from three sides at once: XDP on each of two queues, and userspace.

    kern: tap0 ──── a fifth ────► xbridge ◄──── the rest, on 2 queues ──── vp :peer

For ten seconds, once the burst is used up, what passes of twice the rate is the rate within 5 %.
"""

import contextlib
import subprocess
import sys
import time

import pytest

from load import NO_STALL
from traffic import udp_socket
from xbridge import TAP_IP, difference, interesting, peer_ip, wait_for

PORT = 9
SECONDS = 10
OFFERED = 2.5  # times the rate, so that the wire alone has twice the rate where the daemon reads tap0 too seldom
FROM_TAP = 0.2  # of what is offered
FLOWS = 32  # source ports of a sender: both queues have some of them

# sender.py RATE TARGET PORT FLOWS: datagrams at a steady rate, in small trains where a sleep would take too long
SENDER = """
import ctypes, os, socket, sys, time
rate, target, port, flows = float(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
TRAIN = 32

class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]

class msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(iovec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]

class mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", msghdr), ("len", ctypes.c_uint)]

libc = ctypes.CDLL(None, use_errno=True)
iov = iovec(bytes(32), 32)
train = (mmsghdr * TRAIN)(*[mmsghdr(msghdr(None, 0, ctypes.pointer(iov), 1)) for _ in range(TRAIN)])
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
for sock in sockets:
    sock.connect((target, port))
print("ready", flush=True)
sys.stdin.readline()
start, sent, turn = time.monotonic(), 0, 0
while True:
    due = int((time.monotonic() - start) * rate) - sent
    if due < 1 or (due < TRAIN and due < rate / 2000):
        time.sleep(0.0002)
        continue
    n = min(due, TRAIN)
    libc.sendmmsg(sockets[turn % flows].fileno(), train, n, 0)
    sent += n
    turn += 1
"""


@contextlib.contextmanager
def senders(bed, pps):
    """Offers so many datagrams a second in all: two processes in the peer, one behind tap0."""
    from_wire = pps * (1 - FROM_TAP) / 2
    processes = []
    try:
        for ns, ip, rate in (bed.peer, TAP_IP, from_wire), (bed.peer, TAP_IP, from_wire), (bed.kern, peer_ip(), pps * FROM_TAP):
            # Before all others on their CPU: XDP runs where they send, so the rate is offered on a busy machine, too.
            words = ["chrt", "-f", "1", sys.executable, "-c", SENDER, str(rate), ip, str(PORT), str(FLOWS)]
            processes.append(subprocess.Popen(["ip", "netns", "exec", ns.name, *words], text=True, env=bed.env,
                                              stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        yield
        assert all(process.poll() is None for process in processes), "a sender has ended"
    finally:
        for process in processes:
            process.kill()
            process.communicate()


class Look:
    """What the daemon and the kernel have counted, and when."""

    def __init__(self, bed):
        began = time.monotonic()
        self.stats = bed.daemon.stats()
        self.at = (began + time.monotonic()) / 2
        self.arrived = bed.kern.counters("tap0")["rx_packets"] + bed.peer.counters("vp")["rx_packets"]
        self.arrived_at = time.monotonic()


class Rates:
    """Packets a second from one look to another. All that there is comes from the senders."""

    def __init__(self, before, after):
        change = difference(after.stats["ports"], before.stats["ports"])
        seconds = after.at - before.at
        xdp, tap = change["va"]["xdp"], change["tap0"]
        beyond = tap["drops"].get("limit", 0)
        self.passed_xdp = xdp["redirect"] / seconds
        self.passed_userspace = (tap["rx_packets"] - beyond) / seconds
        self.passed = self.passed_xdp + self.passed_userspace
        self.offered = self.passed + (xdp["limit"] + beyond) / seconds
        self.arrived = (after.arrived - before.arrived) / (after.arrived_at - before.arrived_at)
        self.queues = {q["queue"]: q["rx_packets"] for q in change["va"]["queues"]}
        self.change = interesting(change)

    def __repr__(self):
        return (f"offered {self.offered:.0f}, passed {self.passed:.0f} ({self.passed_xdp:.0f} in XDP, "
                f"{self.passed_userspace:.0f} in userspace), arrived {self.arrived:.0f} a second: {self.change}")


def within(rate, wanted):
    return 0.95 * wanted <= rate <= 1.05 * wanted


@pytest.fixture
def bed(make_bed):
    return make_bed(queues=2, quiet=True)


def measure(bed, pps):
    """Offers more than twice the rate and, once the burst is used up and as much has been dropped, looks on."""
    daemon = bed.daemon
    with udp_socket(bed.kern, TAP_IP, PORT), udp_socket(bed.peer, peer_ip(), PORT), senders(bed, OFFERED * pps):
        wait_for(lambda: daemon.stats()["ports"]["va"]["xdp"]["limit"] > pps / 10, "the burst is used up", 30)
        before = Look(bed)
        time.sleep(SECONDS)  # this is what is measured
        return Rates(before, Look(bed))


@pytest.mark.long
@pytest.mark.native
@pytest.mark.parametrize("pps", [100, 10_000, 100_000])
def test_two_queues_and_userspace_share_a_limit(bed, pps):
    bed.start("--queues", "2", *NO_STALL, "--rule", f"proto udp dport {PORT} to bridge limit {pps}")
    rates = measure(bed, pps)
    assert within(rates.passed, pps), rates
    assert rates.offered >= 2 * pps, rates
    assert rates.passed_userspace > 0 and all(rates.queues[queue] for queue in (0, 1)), rates
    if pps <= 10_000:  # at more, rings may overflow where all share two CPUs
        assert within(rates.arrived, pps), rates
    bed.daemon.rest()
