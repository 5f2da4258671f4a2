# SPDX-License-Identifier: BSD-2-Clause
"""Offloads of the kernel's interface that are changed while xbridge runs."""

import signal

import pytest

from load import Flood
from test_offload import MB, TAKES
from traffic import tcp_copy
from xbridge import TAP_IP, peer_ip, wait_for


@pytest.fixture
def bed(make_bed):
    return make_bed()


def kernel_features(bed):
    """What the kernel's interface leaves to us, by ethtool."""
    text = bed.kern.run("ethtool", "-k", "tap0").stdout
    return {name for name in ("tx-checksum-ip-generic", "tx-tcp-segmentation") if f"{name}: on" in text}


@pytest.mark.kernels
def test_offloads_change_while_traffic_runs(bed):
    daemon = bed.start()
    with Flood(bed):
        for words, takes, left in (("none", set(), set()), ("csum,tso", {"csum"}, {"tx-checksum-ip-generic", "tx-tcp-segmentation"}),
                                   ("csum,gro", {"csum", "tso4", "tso6", "ecn"}, {"tx-checksum-ip-generic"}),
                                   ("csum,tso,gro,uso", TAKES, {"tx-checksum-ip-generic", "tx-tcp-segmentation"})):
            daemon.ask("port", "set", "kernel", "--offload", words)
            port = daemon.port("tap0")
            assert port["offload"] == words and set(port["takes"]) == takes and port["running"]
            assert kernel_features(bed) == left
    for words in ("none", "csum,tso,gro,uso"):
        daemon.ask("port", "set", "kernel", "--offload", words)
        tcp_copy(bed.peer, bed.kern, TAP_IP, 4 * MB)
        tcp_copy(bed.kern, bed.peer, peer_ip(), 4 * MB)
    daemon.rest()


def test_offloads_follow_the_file(bed, tmp_path):
    file = tmp_path / "xbridge.conf"
    file.write_text("offload csum\n")
    daemon = bed.start("--config", str(file))
    assert daemon.port("tap0")["offload"] == "csum"
    file.write_text("no-offload\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("offloads of tap0 are negotiated again")
    wait_for(lambda: not kernel_features(bed), "the kernel leaves nothing to us")
    tcp_copy(bed.peer, bed.kern, TAP_IP, MB)
    daemon.rest()


def test_offloads_of_an_uplink_are_not_for_us_to_choose(bed):
    daemon = bed.start()
    assert "has no offloads to choose from" in daemon.cli("port", "set", "va", "--offload", "none", check=False).stderr
    assert daemon.cli("port", "set", "kernel", "--offload", "tso", check=False).returncode == 2
