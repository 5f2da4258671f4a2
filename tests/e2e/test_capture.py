# SPDX-License-Identifier: BSD-2-Clause
"""`capture`: each packet that `stats` counts, once for each port that it crosses, with its fate; in a file that others
read."""

import collections
import contextlib
import fcntl
import mmap
import os
import re
import signal
import socket
import subprocess

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import ARP
from scapy.utils import rdpcap

from steer import PAYLOAD, frame
from traffic import Wire, tcp_copy, udp_copy
from xbridge import RUN_DIR, TAP_IP, binary, difference, drops, peer_ip, scaled, wait_for

MB = 1 << 20


class Capture:
    """`xbridge capture WORD…` as long as the `with` lasts."""

    def __init__(self, bed, *words, stdout=subprocess.PIPE):
        self.bed = bed
        self.process = subprocess.Popen(bed.in_host(binary(), "capture", *words, "--name", bed.name), text=True,
                                        stdout=stdout, stderr=subprocess.PIPE)
        self.said = self.process.stderr.readline()
        self.out = None

    def __enter__(self):
        assert "capturing" in self.said, self.said + self.process.stderr.read()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, signum=signal.SIGINT):
        """Ends it; returns how many packets were captured, and how many lost."""
        if self.out is None:
            self.pid_of_command().send_signal(signum)
            out, self.said = self.process.communicate(timeout=30)
            self.out = out or ""
        found = re.search(r"(\d+) packets captured, (\d+) lost", self.said)
        return tuple(map(int, found.groups())) if found else None

    def pid_of_command(self):
        return self.process  # nsenter and unshare become the command


def read(path):
    """What tshark finds in a file: a list of dicts."""
    fields = ["frame.interface_name", "frame.packet_flags_direction", "frame.comment", "frame.len", "frame.cap_len"]
    done = subprocess.run(["tshark", "-r", str(path), "-T", "fields"] + [word for f in fields for word in ("-e", f)],
                          capture_output=True, text=True, check=True)
    rows = []
    for line in done.stdout.splitlines():
        port, way, comment, length, there = line.split("\t")
        row = {"port": port, "way": {"0x00000001": "in", "0x00000002": "out"}.get(way, way), "bytes": int(length),
               "there": int(there)}
        row.update(word.split("=", 1) for word in comment.split())
        rows.append(row)
    return rows


def tally(rows):
    """As `stats` counts: for each port what it received and sent, and dropped for which reason, in the XDP
    program, too."""
    ports = collections.defaultdict(lambda: {"rx_packets": 0, "rx_bytes": 0, "tx_packets": 0, "tx_bytes": 0,
                                             "drops": collections.Counter()})
    for row in rows:
        port = ports[row["port"]]
        if "drop" in row:
            port["drops"][row["drop"]] += 1
        if row["way"] == "in" or "drop" not in row:
            way = "rx" if row["way"] == "in" else "tx"
            port[f"{way}_packets"] += 1
            port[f"{way}_bytes"] += row["bytes"]
    return {name: dict(port, drops=dict(port["drops"])) for name, port in ports.items()}


def counted(change):
    return {name: {key: port[key] for key in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")} |
            {"drops": {reason: n for reason, n in port["drops"].items() if n}}
            for name, port in change["ports"].items() if port["rx_packets"] or port["tx_packets"]}


@pytest.mark.kernels
@pytest.mark.both_ways
@pytest.mark.parametrize("options", [[], ["--no-offload"]], ids=["offload", "no-offload"])
def test_a_capture_holds_each_packet_that_stats_counts(make_bed, tmp_path, options):
    bed = make_bed(uplinks=2, quiet=True)
    daemon = bed.start("--rule", "proto udp dport 7 to drop", "--rule", "in vb proto udp dport 8 to va", *options)
    path = tmp_path / "all.pcapng"
    before = daemon.rest()
    with Capture(bed, "-w", str(path)) as capture:
        tcp_copy(bed.peer, bed.kern, TAP_IP, scaled(4 * MB), back=scaled(4 * MB))
        udp_copy(bed.kern, bed.peer, peer_ip(), 50, 1400)
        with Wire(bed.peer, "vp") as wire, Wire(bed.peers[1], "vp") as other, Wire(bed.kern, "tap0") as tap:
            wire.send(frame(ARP(), dst="ff:ff:ff:ff:ff:ff"), frame(UDP(dport=7)), frame(UDP(), dst="01:80:c2:00:00:0e"),
                      frame(UDP(), src="01:00:00:00:00:01"))
            tap.send(frame(UDP(dport=7)))
            other.send(*[frame(UDP(dport=8))] * 2, *[frame(UDP(dport=7))] * 3)
            wire.expect(PAYLOAD)
        change = difference(daemon.rest(), before)
        n, lost = capture.end()
    rows = read(path)
    assert len(rows) == n and not lost
    assert tally(rows) == counted(change)
    ruled = [row for row in rows if row.get("rule") == "2"]
    assert collections.Counter((row["port"], row["way"], row["verdict"], row["stage"], row.get("from")) for row in ruled) == {
        ("vb", "in", "va", "rule", None): 2, ("va", "out", "va", "rule", "vb"): 2}
    assert sum(row.get("by") == "xdp" for row in rows) == 4
    assert {row["drop"] for row in rows if "drop" in row} >= {"verdict", "smac_group", "reserved"}
    assert all(row["bytes"] == row["there"] for row in rows)


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed(quiet=True)
    bed.start("--rule", "in kernel proto udp dport 7 to drop")
    return bed


def send_some(bed, drop=3, carry=2):
    before = bed.daemon.rest()
    with Wire(bed.kern, "tap0") as tap, Wire(bed.peer, "vp") as wire:
        tap.send(*[frame(UDP(dport=7))] * drop, *[frame(TCP(dport=9))] * carry)
        for _ in range(carry):
            wire.expect(PAYLOAD)
    return difference(bed.daemon.rest(), before)


@pytest.mark.parametrize("words, wanted", [
    ([], {("tap0", "in", "verdict"): 3, ("tap0", "in", None): 2, ("va", "out", None): 2}),
    (["tap0"], {("tap0", "in", "verdict"): 3, ("tap0", "in", None): 2}),
    (["kernel"], {("tap0", "in", "verdict"): 3, ("tap0", "in", None): 2}),
    (["va"], {("va", "out", None): 2}),
    (["--drops"], {("tap0", "in", "verdict"): 3}),
    (["va", "--drops"], {}),
])
def test_a_port_or_drops_are_asked_for(bed, tmp_path, words, wanted):
    path = tmp_path / "some.pcapng"
    with Capture(bed, *words, "-w", str(path)) as capture:
        assert drops(send_some(bed), "tap0") == {"verdict": 3}
        assert capture.end() == (sum(wanted.values()), 0)
    assert collections.Counter((row["port"], row["way"], row.get("drop")) for row in read(path)) == wanted


@pytest.mark.kernels
def test_what_the_program_drops_is_captured_whole(make_bed, tmp_path):
    bed = make_bed(quiet=True)
    daemon = bed.start("--rule", "proto udp dport 7 to drop", "--rule", "proto udp to kernel limit 1:2")
    path = tmp_path / "drops.pcapng"
    sent = [frame(UDP(dport=7)), frame(UDP(dport=7), vlan=5), frame(UDP(dport=8)), frame(UDP(dport=9)), frame(UDP(dport=10)),
            frame(UDP(dport=11))]
    with Wire(bed.peer, "vp") as wire:
        wire.send(*sent[:2])  # nobody watches
        for again in range(2):
            with Capture(bed, "--drops", "-w", str(path)) as capture:
                daemon.ask("steer", "flush")
                daemon.ask("steer", "load", "proto udp dport 7 to drop\nproto udp to kernel limit 1:2\n")
                before = daemon.rest()
                wire.send(*sent)
                wait_for(lambda: (xdp := difference(daemon.rest(), before)["ports"]["va"]["xdp"])["limit"] + xdp["drop"] == 4,
                         "four drops")  # pylint: disable=cell-var-from-loop
                assert capture.end() == (4, 0), again
    first = daemon.ask("steer", "list")["rules"][0]["id"]
    assert [(row["port"], row["way"], row["drop"], row["by"], int(row["rule"]) - first) for row in read(path)] == [
        ("va", "in", "verdict", "xdp", 0)] * 2 + [("va", "in", "limit", "xdp", 1)] * 2
    assert [bytes(packet) for packet in rdpcap(str(path))] == sent[:2] + sent[4:]


def test_without_a_file_lines_are_printed(bed):
    with Capture(bed) as capture:
        send_some(bed)
        assert capture.end() == (7, 0)
    lines = capture.out.splitlines()
    assert len(lines) == 7
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} tap0 in \d+ bytes: verdict=drop stage=rule rule=1 drop=verdict \| "
                        r"vlan none smac 02:.* dmac 02:.* ethertype ipv4 proto udp src 198\.51\.100\.1/32 .* dport 7 .*", lines[0])
    assert "va out" in lines[-1] and "from=tap0" in lines[-1]


def test_a_number_of_packets_and_of_bytes(bed, tmp_path):
    path = tmp_path / "few.pcapng"
    with Capture(bed, "-c", "4", "--snap", "20", "-w", str(path)) as capture:
        send_some(bed)
        out, said = capture.process.communicate(timeout=30)
        assert capture.process.returncode == 0 and not out
        assert "4 packets captured" in said
        capture.out, capture.said = out, said
    rows = read(path)
    assert len(rows) == 4 and all(row["there"] == 20 < row["bytes"] for row in rows)


def test_others_read_it_from_a_pipe(bed):
    command = bed.in_host("sh", "-c", '"$0" capture -w - -c 3 --name "$1" | tcpdump -n -r - 2>/dev/null', binary(), bed.name)
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "capturing" in reader.stderr.readline()
    send_some(bed)
    out, _ = reader.communicate(timeout=30)
    assert out.count("198.51.100.1") == 3


def memory_of_captures(daemon):
    with open(f"/proc/{daemon.pid}/maps", encoding="ascii") as maps:
        return sum("xbridge-capture" in line for line in maps)


def test_a_client_that_dies_leaves_nothing(bed):
    assert memory_of_captures(bed.daemon) == 0
    with Capture(bed) as capture:
        assert memory_of_captures(bed.daemon) > 0
        capture.process.kill()
        wait_for(lambda: memory_of_captures(bed.daemon) == 0, "the rings are gone")
        capture.out, capture.said = "", ""
        capture.process.communicate()
    send_some(bed)


def hold_capture(daemon):
    """A capture's client that is not ours: the connection, and the descriptors that it got."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(f"{RUN_DIR}/{daemon.name}.sock")
    sock.sendall(b'{"argv": ["capture"]}\n')
    reply, fds, _, _ = socket.recv_fds(sock, 1 << 20, 8)
    assert b'"ok":true' in reply, reply
    return sock, fds


def vandalise(fd):
    """All that a descriptor may allow; returns what it did."""
    page = b"\xff" * 4096
    tries = {
        "shrink": lambda: os.truncate(fd, 0),
        "grow": lambda: os.truncate(fd, 1 << 40),
        "write": lambda: os.pwrite(fd, page, 0),
        "map": lambda: mmap.mmap(fd, 4096).write(page),
        "seal": lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
        "punch": lambda: subprocess.run(["fallocate", "--punch-hole", "--length", "65536", f"/proc/self/fd/{fd}"],
                                        pass_fds=[fd], check=True, capture_output=True),
        "reopen": lambda: os.pwrite(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), page, 0),
    }
    done = set()
    for name, what in tries.items():
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            what()
            done.add(name)
    return done


def test_a_hostile_client_hurts_nobody_but_itself(bed, tmp_path):
    """It may write what it has read up to, and nothing else; the daemon and other captures go on."""
    path = tmp_path / "beside.pcapng"
    sock, fds = hold_capture(bed.daemon)
    with Capture(bed, "-w", str(path)) as capture:
        send_some(bed)
        assert [vandalise(fd) for fd in fds] == [set(), {"write", "map", "punch", "reopen"}]
        send_some(bed)
        assert capture.end() == (14, 0)
    assert len(read(path)) == 14
    for fd in fds:
        os.close(fd)
    sock.close()
    wait_for(lambda: memory_of_captures(bed.daemon) == 0, "nothing is left")


def test_four_at_a_time(bed, tmp_path):
    paths = [tmp_path / f"{i}.pcapng" for i in range(4)]
    captures = [Capture(bed, "-w", str(path)) for path in paths]
    try:
        fifth = bed.daemon.cli("capture", check=False)
        assert fifth.returncode == 1 and "4 captures are running" in fifth.stderr
        send_some(bed)
        captures[1].end()
        send_some(bed)
    finally:
        ended = [capture.end() for capture in captures]
    assert ended == [(14, 0), (7, 0), (14, 0), (14, 0)]
    assert [len(read(path)) for path in paths] == [14, 7, 14, 14]
    assert memory_of_captures(bed.daemon) == 0


def test_nobody_waits_for_who_watches(bed, tmp_path):
    """A client that does not read loses packets and is told how many; the traffic does not notice."""
    path = tmp_path / "slow.pcapng"
    before = bed.daemon.rest()
    with Capture(bed, "-w", str(path)) as capture:
        capture.process.send_signal(signal.SIGSTOP)
        tcp_copy(bed.peer, bed.kern, TAP_IP, scaled(64 * MB, least=40 * MB))
        change = difference(bed.daemon.rest(), before)
        capture.process.send_signal(signal.SIGCONT)
        n, lost = capture.end()
    assert lost > 0
    assert n + lost == sum(port["rx_packets"] + port["tx_packets"] + sum(
        n for reason, n in port["drops"].items() if reason == "port_down" or reason.startswith("tx_"))
        for port in change["ports"].values())
    assert len(read(path)) == n


FLOOD = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 9))
while True:
    try:
        sock.send(b"x" * 18)
    except OSError:
        pass
"""


def test_an_interrupt_is_obeyed_while_packets_come_faster_than_they_are_written(bed):
    flood = subprocess.Popen(["ip", "netns", "exec", bed.kern.name, "python3", "-c", FLOOD, peer_ip()])
    try:
        with Capture(bed, stdout=subprocess.DEVNULL) as capture:
            at_start = bed.daemon.stats()["ports"]["tap0"]["rx_packets"]
            wait_for(lambda: bed.daemon.stats()["ports"]["tap0"]["rx_packets"] > at_start + scaled(400000), "a flood", 60)
            n, _ = capture.end()
            assert n and flood.poll() is None
    finally:
        flood.kill()
        flood.wait()


def test_what_userspace_limits_names_the_rule_and_pass_is_what_it_means(make_bed, tmp_path):
    bed = make_bed(quiet=True)
    bed.start("--rule", "in kernel proto udp dport 7 to va limit 1:2", "--rule", "proto tcp to pass")
    path = tmp_path / "fates.pcapng"
    with Capture(bed, "tap0", "-w", str(path)) as capture:
        send_some(bed)
        assert capture.end() == (5, 0)
    assert collections.Counter((row["verdict"], row["stage"], row["rule"], row.get("drop")) for row in read(path)) == {
        ("va", "rule", "1", None): 2, ("va", "rule", "1", "limit"): 1, ("bridge", "rule", "2", None): 2}


@pytest.mark.kernels
def test_the_end_of_the_daemon_ends_a_capture(make_bed, tmp_path):
    bed = make_bed(quiet=True)
    daemon = bed.start("--rule", "in kernel proto udp dport 7 to drop")
    path = tmp_path / "last.pcapng"
    with Capture(bed, "-w", str(path)) as capture:
        send_some(bed)
        daemon.stop()
        capture.out, capture.said = capture.process.communicate(timeout=30)
        assert capture.process.returncode == 0
        assert capture.end() == (7, 0)
    assert len(read(path)) == 7


@pytest.mark.parametrize("words, status, said", [
    ("nowhere", 1, ["nowhere", "port list"]),
    ("va tap0", 2, ["tap0"]),
    ("--fast", 2, ["--fast"]),
    ("-c x", 2, ["-c", "'x'"]),
    ("-c", 2, ["-c"]),
    ("-w", 2, ["-w"]),
    ("--snap 0", 2, ["--snap", "'0'"]),
    ("-w /nonexistent/file", 1, ["/nonexistent/file", "No such file"]),
    ("a b c d e f g h i", 2, ["unexpected"]),
])
def test_mistakes_are_told(bed, words, status, said):
    done = bed.daemon.cli("capture", *words.split(), check=False)
    assert done.returncode == status and not done.stdout
    assert all(part in done.stderr for part in said), done.stderr
    wait_for(lambda: memory_of_captures(bed.daemon) == 0, "nothing is left")


def test_a_full_disk_is_told(bed):
    with Capture(bed, "-w", "/dev/full") as capture:
        send_some(bed)
        capture.process.wait(timeout=30)
        capture.out, capture.said = capture.process.communicate()
        assert capture.process.returncode == 1 and "No space left" in capture.said
