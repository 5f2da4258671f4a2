# SPDX-License-Identifier: BSD-2-Clause
"""tools/bench exception: what it reports of the figures it has, and that it gets some."""

import json
import os
import re
import subprocess
import sys
import types

import pytest

import xbridge

TOOLS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools")
sys.path.insert(0, TOOLS)

import bench_report  # noqa: E402
import bench_sides  # noqa: E402
import bench_traffic  # noqa: E402


def iperf3(*mbits):
    """The answer of a run with so much in each second, after one that is left out."""
    sums = [{"bytes": 125000 * mbit, "bits_per_second": 1e6 * mbit, "omitted": second == 0}
            for second, mbit in enumerate((1000, *mbits))]
    return json.dumps({"intervals": [{"sum": one} for one in sums],
                       "end": {"sum_received": {"bits_per_second": 3e8}, "sum_sent": {"retransmits": 7}}})


def test_the_first_second_is_in_the_volume_and_not_in_the_rate():
    rate, seconds, gbits, again = bench_traffic.parse_tcp(iperf3(400, 400, 100, 100))
    assert (rate, seconds, again) == (300, [400, 400, 100, 100], 7)
    assert gbits == pytest.approx(2.0)


@pytest.mark.parametrize("seconds, expected", [([400, 400, 100, 100], 0.25), ([100, 300, 500, 700, 900], 3), ([5, 5], 1)])
def test_a_rate_that_falls_in_the_second_half_is_seen(seconds, expected):
    assert bench_traffic.fade(seconds) == pytest.approx(expected)


def turns(**figures):
    """{side: turns} with one figure of each kind and turn."""
    return {name: [{"out_mbit": mbit, "in_mbit": 100, "rtt_busy_ms": 1, "rtt_idle_ms": 2, "wakeup_ms": 1} for mbit in row]
            for name, row in figures.items()}


def test_each_peer_has_a_table_of_its_own_and_testpmds_have_targets(capsys):
    found = bench_report.report(turns(**{"tx=xdp": [100, 200, 400], "io256": [100, 100, 100], "csum1024": [200, 200, 400],
                                         "bridge": [1000, 1000, 1000]}), "vhost-net")
    medians, io256, csum1024, bridge = capsys.readouterr().out.split("\n\n")
    assert re.search(r"^TCP from the kernel.*\b200 \(150-300\).* 1000 \(", medians, re.M)
    assert re.search(r"^tx=xdp / io256\b.*\nTCP from the kernel.* 2\.00 \(1\.50-3\.00\)  target >= 1\.3: met$", io256, re.M)
    assert re.search(r"^tx=xdp / csum1024\b.*\nTCP from the kernel.* 1\.00 \(0\.75-1\.00\)  target >= 1\.3: MISSED$", csum1024, re.M)
    assert "target" not in bridge
    assert not found.all_met


def test_testpmd_is_what_its_guide_advises():
    options = types.SimpleNamespace(queues=2, backend="vhost-net", dpdk="x.so", work="")
    side = bench_sides.TestpmdCsum(options)
    words, dialogue = " ".join(side.command()), "\n".join(side.dialogue)
    assert re.search(r"net_virtio_user0,path=/dev/vhost-net,iface=\w+,queues=2,queue_size=1024 ", words)
    assert "queue_count=2" in words and "--forward-mode=csum" in words and "--rxq=2 --txq=2" in words
    for line in ("port config 1 rx_offload tcp_lro on", "port config 1 rx_offload tcp_cksum on", "csum set tcp hw 1",
                 "csum set udp hw 1", "tso set 1460 1", "set port 0 gso on", "set port 0 gro on"):
        assert line in dialogue


@pytest.mark.native
@pytest.mark.parametrize("queues, sides", [(1, ["bridge"]), (2, ["tx=packet", "bridge"])])
def test_sides_take_turns_and_leave_nothing(queues, sides):
    done = subprocess.run([sys.executable, os.path.join(TOOLS, "bench_exception.py"), "--backend", "tap", "--binary", xbridge.binary(),
                           "--only", ",".join(sides), "--what", "throughput", "--turns", "1", "--seconds", "2",
                           "--queues", str(queues), "--per-second"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for way in "out", "in":
        for side in sides:
            assert re.search(rf"^{side} +{way} +\d+ \d+$", done.stdout, re.M), done.stdout
    figures = r" +[1-9][\d.]* \(.*\)" * len(sides)
    assert re.search(rf"^TCP from the kernel to the uplink, Mbit/s{figures}$", done.stdout, re.M), done.stdout
    assert ("tx=packet / bridge" in done.stdout) == (len(sides) == 2), done.stdout
    assert "xbbench" not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def bench_namespaces():
    return re.findall(r"^xbbench\S*", subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout, re.M)


@pytest.mark.native
def test_what_is_terminated_leaves_nothing():
    with subprocess.Popen([sys.executable, os.path.join(TOOLS, "bench_exception.py"), "--backend", "tap", "--binary",
                           xbridge.binary(), "--only", "tx=packet,bridge", "--seconds", "600"], text=True,
                          stderr=subprocess.PIPE) as bench:
        xbridge.wait_for(lambda: len(bench_namespaces()) == 4, "all sides are there")
        bench.terminate()
        assert bench.communicate()[1].endswith("bench: terminated\n") and bench.returncode == 1
    assert not bench_namespaces()
