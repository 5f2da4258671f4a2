# SPDX-License-Identifier: BSD-2-Clause
"""Traffic that runs beside a test, and questions asked with single frames."""

import contextlib
import ctypes
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import time

from xbridge import PATIENCE, TAP_IP, peer_ip, wait_for

ETH_P_ALL, ETH_P_ARP = 3, 0x0806
BROADCAST = b"\xff" * 6
OWN_IP = "192.0.2.100"  # an uplink's own

FLOOD = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("ready", flush=True)
while True:
    try:
        sock.sendto(bytes(64), (sys.argv[1], 9))
    except OSError:
        time.sleep(0.001)
"""


class Flood:
    """UDP as fast as one process sends it, between tap0 and a peer, both ways unless told otherwise.

    The addresses of both are made known to the other first, so that it goes on when nobody answers.
    """

    def __init__(self, bed, ways=("in", "out")):
        self.processes = []
        bed.peer.ip(f"neigh replace {TAP_IP} lladdr {bed.kern.mac('tap0')} dev vp")
        bed.kern.ip(f"neigh replace {peer_ip()} lladdr {bed.peer.mac('vp')} dev tap0")
        for ns, target in [(bed.peer, TAP_IP)] * ("in" in ways) + [(bed.kern, peer_ip())] * ("out" in ways):
            command = ["ip", "netns", "exec", ns.name, sys.executable, "-c", FLOOD, target]
            self.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=bed.env))

    def __enter__(self):
        for process in self.processes:
            assert process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()


def wait_under_load(daemon):
    """Waits until packets of a flood have crossed."""
    before = daemon.stats()["ports"]

    def crossed():
        ports = daemon.stats()["ports"]
        return all(ports[name]["rx_packets"] > before[name]["rx_packets"] + 1000 / PATIENCE for name in ("tap0", "va"))
    wait_for(crossed, "packets cross")


STORM = """
import os, signal, socket, sys
cpu, ip, burst, ports = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [int(port) for port in sys.argv[4:]]
os.sched_setaffinity(0, {cpu})
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
for sock, port in zip(socks, ports):
    sock.connect((ip, port))
    if burst > 1:
        sock.setsockopt(socket.IPPROTO_UDP, 103, 18)  # UDP_SEGMENT
print("ready", flush=True)
sys.stdin.readline()
while not over:
    for sock in socks:
        try:
            sock.send(bytes(18 * burst))
        except OSError:
            pass
"""


class Storm:
    """Small datagrams to many ports, as fast as one process on each CPU sends them, to an address that is nobody's, so
    that nobody answers.

    ways: (namespace, interface, MAC it is sent to, datagrams a call: more than one, and the kernel cuts them apart),
    each the source of a process on a CPU of its own as long as there are such.
    """

    IP = "192.0.2.77"

    def __init__(self, bed, ways, ports):
        cpus, self.processes = sorted(os.sched_getaffinity(0)), []
        for i, (ns, ifname, mac, burst) in enumerate(ways):
            ns.ip(f"neigh replace {self.IP} lladdr {mac} dev {ifname} nud permanent")
            command = ["ip", "netns", "exec", ns.name, sys.executable, "-c", STORM, str(cpus[i % len(cpus)]), self.IP,
                       str(burst), *map(str, ports)]
            self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=bed.env))

    def __enter__(self):
        for process in self.processes:
            assert process.stdout.readline() == b"ready\n"
        self.began, self.idle_s = time.monotonic(), -idle_s()
        for process in self.processes:
            process.stdin.close()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
            process.stdout.close()
        self.took_s = time.monotonic() - self.began
        self.idle_s += idle_s()

    def idle_share(self):
        """How much of the machine had nothing to do meanwhile."""
        return self.idle_s / self.took_s / os.cpu_count()


def idle_s():
    """How long the CPUs, taken together, have had nothing to do since the start."""
    with open("/proc/stat", encoding="ascii") as file:
        idle, waiting = file.readline().split()[4:6]
    return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")


NO_STALL = ["--stall-ms", "10000"]  # for a daemon that is held


def hold_until_sent(daemon, n, *senders):
    """The daemon stands still, as where it gets no CPU, until each namespace has sent so many datagrams more: what can't
    wait that long is lost."""
    goals = {ns: ns.snmp()["OutDatagrams"] + n for ns in senders}
    daemon.kill(signal.SIGSTOP)
    try:
        wait_for(lambda: all(ns.snmp()["OutDatagrams"] >= goal for ns, goal in goals.items()), f"{n} datagrams are sent")
    finally:
        daemon.kill(signal.SIGCONT)


PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WAIT_ALL = 0x40000000  # __WALL: for threads that are no children of ours too


@contextlib.contextmanager
def held_thread(daemon, name):
    """That thread of the daemon stands still, as where it gets no CPU; the others go on."""
    tid = next(int(tid) for tid in os.listdir(f"/proc/{daemon.pid}/task")
               if pathlib.Path(f"/proc/{daemon.pid}/task/{tid}/comm").read_text(encoding="ascii").strip() == name)

    def ptrace(request):
        if ctypes.CDLL(None, use_errno=True).ptrace(request, tid, None, None) < 0:
            raise OSError(ctypes.get_errno(), f"ptrace of {name}")
    ptrace(PTRACE_SEIZE)
    try:
        ptrace(PTRACE_INTERRUPT)
        os.waitpid(tid, WAIT_ALL)
        yield
    finally:
        try:
            ptrace(PTRACE_DETACH)
        except ProcessLookupError:  # it has ended, with its process
            os.waitpid(tid, WAIT_ALL)


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def mac_text(mac):
    return mac.hex(":")


class Wire:
    """A packet socket on an interface: frames in and out as they are."""

    def __init__(self, ns, ifname, protocol=ETH_P_ALL):
        with ns:
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
            self.sock.bind((ifname, protocol))
        self.mac = mac_bytes(ns.mac(ifname))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, frame):
        self.sock.send(frame)

    def receive(self, seconds):
        """The next frame that came in, or None."""
        end = time.monotonic() + seconds
        while select.select([self.sock], [], [], max(end - time.monotonic(), 0))[0]:
            frame, address = self.sock.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING:
                return frame
        return None

    def who_has(self, ip, seconds):
        """Asks by ARP who has an address; yields the MAC of each who answers in that time."""
        request = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, self.mac, bytes(4), bytes(6), socket.inet_aton(ip))
        self.send(BROADCAST + self.mac + struct.pack("!H", ETH_P_ARP) + request)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            frame = self.receive(end - time.monotonic())
            is_reply = frame and frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2"
            if is_reply and frame[28:32] == socket.inet_aton(ip):
                yield mac_text(frame[22:28])


def answers(ns, ip, seconds=1):
    """Does the address answer a ping within that time?"""
    return ns.run("ping", "-n", "-c", "1", "-W", str(seconds * PATIENCE), ip, check=False).returncode == 0
