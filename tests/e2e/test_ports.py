# SPDX-License-Identifier: BSD-2-Clause
"""Ports that come and go while xbridge runs."""

import os
import random
import signal
import subprocess
import time

import pytest

from load import Flood, answers
from xbridge import PIN_ROOT, TAP_IP, TAP_IP6, binary, peer_ip, peer_ip6, scaled, wait_for


@pytest.fixture
def bed(make_bed):
    return make_bed(uplinks=2)


def works(bed, i=0):
    """IPv4 and IPv6, from the peer and from the kernel."""
    for ns, target in ((bed.peers[i], TAP_IP), (bed.peers[i], TAP_IP6), (bed.kern, peer_ip(i)), (bed.kern, peer_ip6(i))):
        wait_for(lambda: answers(ns, target), f"{target} answers {ns.name}")


def names(daemon):
    return [port["name"] for port in daemon.status()["ports"]]


def refused(daemon, *words):
    """What the command says that is refused."""
    result = daemon.cli(*words, check=False)
    assert result.returncode == 1, result
    return result.stderr


def has_program(bed, ifname):
    return "xdp" in bed.host.link(ifname)


@pytest.mark.kernels
def test_an_uplink_comes_and_goes_while_traffic_runs(bed):
    daemon = bed.start(uplinks=["va,dedicated"])
    with Flood(bed):
        for _ in range(scaled(3)):
            assert daemon.cli("port", "add", "--uplink", "vb,dedicated").stdout == ""
            assert names(daemon) == ["tap0", "va", "vb"] and daemon.port("vb")["running"]
            wait_for(lambda: answers(bed.peers[1], TAP_IP), "the second peer reaches tap0")
            daemon.ask("port", "del", "vb")
            assert names(daemon) == ["tap0", "va"] and not has_program(bed, "vb")
    works(bed)
    stats = daemon.rest()
    assert "vb" not in stats["ports"] and stats["departed"]["rx_packets"] and stats["departed"]["tx_packets"]


def test_a_port_that_comes_is_an_ordinary_one(bed):
    daemon = bed.start("--rule", "in uplink proto 200 to drop", uplinks=["va,dedicated"])
    daemon.ask("port", "add", "--uplink", "vb,dedicated")
    works(bed, 1)
    assert "drop" in daemon.cli("explain", "in", "vb", "proto", "200").stdout
    daemon.ask("steer", "add", "in vb proto 201 to va")
    daemon.ask("fdb", "add", "02:00:00:00:00:77", "port", "vb")
    assert {"mac": "02:00:00:00:00:77", "port": "vb"}.items() <= next(
        row for row in daemon.fdb() if row["kind"] == "static").items()
    bed.host.ip("link set vb mtu 1400")
    daemon.wait_log("uplink vb has MTU 1400")
    works(bed, 1)
    daemon.kill()
    daemon.wait_exit()
    daemon = bed.start()  # what a killed one has left on both is taken over
    works(bed, 1)


def test_rules_hold_for_an_uplink_from_its_first_frame_on(bed):
    """So none is added while the table may not be made again."""
    daemon = bed.start("--rule", "in uplink proto 200 to drop", uplinks=["va,dedicated"])
    daemon.ask("steer", "add", "in uplink proto 201 to drop", "--confirm", "60")
    assert "on trial" in (words := refused(daemon, "port", "add", "--uplink", "vb,dedicated"))
    assert "steer confirm" in words
    daemon.ask("steer", "confirm")
    daemon.ask("port", "add", "--uplink", "vb,dedicated")
    for proto in ("200", "201"):  # at once
        assert "drop" in daemon.cli("explain", "in", "vb", "proto", proto).stdout


def test_a_port_that_rules_name_stays(bed):
    daemon = bed.start()
    daemon.ask("steer", "add", "in vb proto 200 to drop")
    assert "rule 1 names it" in refused(daemon, "port", "del", "vb")
    daemon.ask("steer", "replace", "1", "proto 200 to vb")
    assert "rule 1 names it; `xbridge steer del 1` first" in refused(daemon, "port", "del", "vb")
    daemon.ask("steer", "del", "1", "--confirm", "60")
    assert "a change is on trial" in refused(daemon, "port", "del", "vb")  # it may come back
    daemon.ask("steer", "confirm")
    daemon.ask("steer", "default", "vb")
    assert "the default verdict names it" in refused(daemon, "port", "del", "vb")
    daemon.ask("steer", "default", "bridge")
    daemon.ask("steer", "add", "in uplink proto 200 to drop")  # names no port that is to go
    daemon.ask("port", "del", "vb")
    assert "there is no port 'vb'" in refused(daemon, "port", "del", "vb")
    works(bed)


def test_what_a_port_has_left_means_no_other(bed):
    """Neither forwarding entries nor limits of one that has gone hold for the next one."""
    daemon = bed.start()
    works(bed, 1)
    before = daemon.port("vb")["id"]
    daemon.ask("port", "set", "vb", "--learn-max", "3")
    daemon.ask("fdb", "add", "02:00:00:00:00:77", "port", "vb")
    daemon.ask("port", "del", "vb")
    assert not [row for row in daemon.fdb() if row["port"] not in ("tap0", "va")]
    daemon.ask("port", "add", "--uplink", "vb,dedicated")
    port = daemon.port("vb")
    assert port["id"] != before and port["learn_max"] > 3
    works(bed, 1)


@pytest.mark.parametrize("what, words, why", [
    ("nowhere", "nowhere", "interface 'nowhere' does not exist"),
    ("twice", "va", "there is a port va already"),
    ("zerocopy", "vb,mode=zerocopy,xdp=generic", "vb can't do zero copy"),
], ids=lambda value: value if value.isalpha() else "")
def test_a_port_that_cannot_be_had_leaves_nothing(bed, what, words, why):
    daemon = bed.start(uplinks=["va,dedicated"])
    pins = sorted(os.listdir(f"{PIN_ROOT}/{bed.name}/internal"))
    assert why in refused(daemon, "port", "add", "--uplink", words)
    assert names(daemon) == ["tap0", "va"] and not has_program(bed, "vb")
    assert sorted(os.listdir(f"{PIN_ROOT}/{bed.name}/internal")) == pins
    works(bed)
    daemon.ask("port", "add", "--uplink", "vb,dedicated")
    works(bed, 1)


def test_wrong_usage_is_refused(bed):
    daemon = bed.start(uplinks=["va,dedicated"])
    for words in (["port", "add"], ["port", "add", "--uplink"], ["port", "add", "--queues", "2"], ["port", "add", "va"],
                  ["port", "del"]):
        result = daemon.cli(*words, check=False)
        assert result.returncode == 2 and result.stderr, result


def test_without_an_uplink_at_the_start_none_can_come(bed):
    daemon = bed.start(uplinks=[])
    error = refused(daemon, "port", "add", "--uplink", "va")
    assert "xbridge was started without one" in error and "start xbridge with an --uplink" in error


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("words", [["port", "add", "--uplink", "vb,dedicated"], ["port", "del", "va"]], ids=["add", "del"])
def test_an_end_in_between_leaves_nothing(bed, words, signum):
    for delay_ms in range(0, 100, 20):
        daemon = bed.start(uplinks=["va,dedicated"])
        with subprocess.Popen(bed.in_host(binary(), *words, "--name", bed.name), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env=bed.env) as command:
            time.sleep(delay_ms / 1000)  # so many moments, not an event
            if signum == signal.SIGTERM:
                daemon.stop()
                assert not has_program(bed, "va") and not has_program(bed, "vb")
            else:
                daemon.kill()
                daemon.wait_exit()
            command.wait()
    bed.start().stop()


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def resident_kb(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def change_something(daemon, dice):
    """What an operator may do meanwhile."""
    choice = dice.randrange(4)
    if choice == 0:
        daemon.ask("steer", "add", f"in {dice.choice(names(daemon))} proto {dice.randrange(256)} to drop")
        daemon.ask("steer", "flush")
    elif choice == 1:
        daemon.ask("port", "set", "kernel", "--queues", str(dice.randint(1, 3)))
    elif choice == 2:
        daemon.process.send_signal(signal.SIGHUP)
    else:
        daemon.ask("steer", "default", dice.choice(["drop", "bridge"]), "--confirm", "30")
        daemon.ask("steer", "revert")


@pytest.mark.kernels
def test_many_come_and_go_in_random_order(bed):
    dice = random.Random(os.environ.get("XB_SEED", "ports"))
    daemon = bed.start()
    works(bed)
    before = None
    with Flood(bed):
        for turn in range(scaled(100, 6)):
            for ifname in dice.sample(["va", "vb"], 2):
                if ifname in names(daemon):
                    daemon.ask("port", "del", ifname)
                change_something(daemon, dice)
                daemon.ask("port", "add", "--uplink", f"{ifname},dedicated")
            if turn == 3:
                before = descriptors(daemon), resident_kb(daemon)
        assert descriptors(daemon) <= before[0] and resident_kb(daemon) <= before[1] + 4096
    daemon.rest()
    works(bed)
    works(bed, 1)
