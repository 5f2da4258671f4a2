# SPDX-License-Identifier: BSD-2-Clause
"""What people and programs read: JSON everywhere, rates, times, the log."""

import json
import re
import signal
import socket
import struct
import subprocess

import pytest

from documents import Shell
from xbridge import TAP_IP, binary, wait_for


@pytest.fixture
def bed(make_bed):
    return make_bed()


@pytest.fixture
def daemon(bed):
    return bed.start()


class Follower:
    """A command that goes on, and the lines that it prints."""

    def __init__(self, daemon, *words):
        self.process = subprocess.Popen(daemon.bed.in_host(binary(), *words, "--name", daemon.name), stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env=daemon.bed.env)

    def __enter__(self):
        return self.process.stdout

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.stdout.close()
        self.process.wait()


def test_stats_are_those_of_a_port_by_name_or_alias(daemon):
    assert set(json.loads(daemon.cli("stats", "va", "-j").stdout)["ports"]) == {"va"}
    assert set(json.loads(daemon.cli("stats", "kernel", "-j").stdout)["ports"]) == {"tap0"}
    assert "va" not in daemon.cli("stats", "tap0").stdout
    daemon.bed.host.ip("link property add dev va altname port-3")
    assert "tap0" not in daemon.cli("stats", "port-3").stdout
    done = daemon.cli("stats", "nobody", check=False)
    assert done.returncode == 1 and "there is no port 'nobody'" in done.stderr


def test_watched_stats_are_lines_of_json_with_time_and_rates(bed, daemon):
    with Follower(daemon, "stats", "--watch", "-j") as lines:
        first = json.loads(lines.readline())
        with subprocess.Popen(["ip", "netns", "exec", bed.peer.name, "ping", "-n", "-q", "-i", "0.01", TAP_IP],
                              stdout=subprocess.DEVNULL) as ping:
            later = [json.loads(lines.readline()) for _ in range(3)]
            ping.kill()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", first["time"]) and "rates" not in first
    assert set(later[0]["rates"]) == {"tap0", "va"}
    assert set(later[0]["rates"]["va"]) == {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "rx_missed", "drops"}
    grown = later[2]["ports"]["va"]["rx_packets"] - later[1]["ports"]["va"]["rx_packets"]
    assert grown > 5 and 0.3 * grown < later[2]["rates"]["va"]["rx_packets"] < 1.5 * grown, later[2]["rates"]


def test_watched_stats_show_a_person_rates_and_the_time(daemon):
    with Follower(daemon, "stats", "--watch") as lines:
        text = "".join(lines.readline() for _ in range(16))
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text) and "per second" in text and "rx Mbit" in text


def test_captured_packets_are_lines_of_json(bed, daemon):
    with Follower(daemon, "capture", "-j", "va") as lines, subprocess.Popen(
            ["ip", "netns", "exec", bed.peer.name, "ping", "-n", "-q", "-i", "0.05", TAP_IP], stdout=subprocess.DEVNULL) as ping:
        icmp = next(packet for packet in map(json.loads, lines) if packet["parsed"].get("proto") == "icmp")
        ping.kill()
    assert {"time", "port", "way", "bytes", "queue", "verdict", "stage"} <= set(icmp)
    assert icmp["port"] == "va" and icmp["parsed"]["ethertype"] == "ipv4"


def test_explain_says_when_a_frame_was_cut_short_in_its_file(daemon, tmp_path):
    path = tmp_path / "cut.pcap"
    frame = bytes.fromhex("020000000001" "020000000002" "88b5") + bytes(86)
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for there in 40, 100:
            file.write(struct.pack("<IIII", 0, 0, there, 100) + frame[:there])
    cut, whole = json.loads(daemon.cli("explain", "pcap", str(path), "-j").stdout)["packets"]
    assert cut["cut_short_to"] == 40 and "cut_short_to" not in whole
    text = daemon.cli("explain", "pcap", str(path)).stdout
    assert "1: in va, 100 bytes (cut short in the file to 40): " in text and "2: in va, 100 bytes: " in text


def test_log_is_lines_of_json_where_one_asks_for_it(bed):
    daemon = bed.start("--log-format", "json", ready=False)
    daemon.wait_log('"message":"ready: ')
    records = [json.loads(line) for line in daemon.log]
    assert all(set(record) == {"time", "level", "message"} for record in records)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", records[-1]["time"])
    assert {record["level"] for record in records} <= {"info", "notice", "warning"}


def test_log_on_a_terminal_has_the_time(bed):
    with Shell(bed.in_host(), env=bed.env) as shell:
        shell.start(f"xbridge run --name {bed.name} --uplink va,dedicated --netns {bed.kern.name}", "xbridge: ready: ")
        assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} xbridge: ready: ", shell.text, re.MULTILINE), shell.text
        assert shell.interrupt().status == 0


def test_watchdog_of_systemd_is_fed(make_bed, tmp_path):
    bed = make_bed(uplinks=0, tap_in_host=True)
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(20)
        bed.start(uplinks=[], wrap=["env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=30000000"])
        wait_for(lambda: b"WATCHDOG=1" in sock.recv(4096), "it speaks up")


def test_log_format_that_is_unknown_is_told(bed):
    daemon = bed.start("--log-format", "xml", ready=False)
    assert daemon.wait_exit() == 2 and "log-format 'xml': text or json is expected" in daemon.text()
