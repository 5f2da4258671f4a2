# SPDX-License-Identifier: BSD-2-Clause
"""How much memory an instance takes, for whom, and that it comes back."""

import pytest

from traffic import tcp_copy
from xbridge import SANITIZED, TAP_IP, peer_ip, wait_for

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory exceeds the goal")

MB = 1 << 20
WORST_RULES = "\n".join(f"prio {n} src 10.{n >> 8}.{n & 255}.0/{8 + n % 24} sport {n}-{2 * n + 9} dport {n} to drop"
                        for n in range(1, 2001))


def resident(daemon):
    return daemon.status()["memory"]["resident"]


@pytest.mark.kernels
def test_one_queue_of_each_takes_at_most_48_mb(make_bed):
    bed = make_bed()
    daemon = bed.start()
    tcp_copy(bed.peer, bed.kern, TAP_IP, 4 * MB)
    tcp_copy(bed.kern, bed.peer, peer_ip(), 4 * MB)
    assert resident(daemon) <= 48 * MB, daemon.status()["memory"]


@pytest.mark.kernels
def test_each_further_queue_pair_takes_at_most_10_mb(make_bed):
    few, many = (make_bed(queues=n).start("--queues", str(n)) for n in (1, 3))
    assert resident(many) - resident(few) <= 2 * 2 * 10 * MB  # two more of the uplink, and two more of tap0


@pytest.mark.kernels
def test_queues_that_are_added_share_what_there_is(make_bed):
    bed = make_bed()
    daemon = bed.start()
    before = resident(daemon)
    daemon.ask("port", "set", "kernel", "--queues", "8")
    assert resident(daemon) - before <= 7 * 10 * MB
    tcp_copy(bed.peer, bed.kern, TAP_IP, 4 * MB)
    tcp_copy(bed.kern, bed.peer, peer_ip(), 4 * MB)
    daemon.rest()


def test_status_says_what_holds_it(make_bed):
    memory = make_bed().start().status()["memory"]
    parts = {name: n for name, n in memory.items() if name != "resident"}
    assert min(parts[name] for name in ("frames", "frame_records", "rule_images", "forwarding_table", "workers",
                                        "port_queues")) > 0
    assert 0.7 * memory["resident"] <= sum(parts.values()) <= 1.1 * memory["resident"]


def test_a_large_table_gives_its_memory_back(make_bed, tmp_path):
    daemon = make_bed().start()
    before = resident(daemon)
    rules = tmp_path / "rules"
    rules.write_text(WORST_RULES)
    daemon.cli("steer", "load", str(rules))
    assert resident(daemon) > before + MB // 2
    daemon.ask("steer", "flush")
    daemon.ask("steer", "default", "drop")  # the other image is a small one, too
    daemon.ask("steer", "default", "bridge")
    wait_for(lambda: resident(daemon) < before + MB // 2, "the memory comes back")
