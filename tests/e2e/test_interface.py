# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's interface is an interface like any other: people move it, make it beforehand, give it other addresses."""

import os
import signal
import subprocess

import pytest

from load import OWN_IP, Wire, answers, mac_bytes
from xbridge import PATIENCE, TAP_IP, drops, peer_ip, wait_for


@pytest.fixture
def bed(make_bed):
    return make_bed()


def taps(bed):
    """How many queues each TAP has, by the namespace in which it lies."""
    found = {}
    for ns in bed.namespaces:
        link = ns.link("tap0")
        if link:
            found[ns.name] = link["linkinfo"]["info_data"]["numqueues"]
    return found


# ---- moved to another namespace ----

@pytest.mark.parametrize("target", [pytest.param("host", marks=pytest.mark.kernels),
                                    pytest.param("another", marks=pytest.mark.vm)])
def test_queues_are_added_where_tap0_lies_after_it_was_moved(bed, target):
    daemon = bed.start()
    there = bed.host if target == "host" else bed.add_netns("there")
    bed.kern.ip(f"link set tap0 netns {there.name}")
    daemon.ask("port", "set", "kernel", "--queues", "4")
    assert taps(bed) == {there.name: 4}, "and none where it was"
    there.ip("link set tap0 up", f"addr add {TAP_IP}/24 dev tap0")
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers where it lies now")
    daemon.ask("port", "set", "kernel", "--queues", "1")
    assert taps(bed) == {there.name: 1}
    daemon.wait_log("tap0 lies in another network namespace now$")
    daemon.rest()
    daemon.stop()
    assert not taps(bed)


def test_mtu_of_tap0_is_seen_and_set_where_it_lies_and_not_on_its_namesake(bed):
    daemon = bed.start()
    bed.kern.ip(f"link set tap0 netns {bed.host.name}", "link add tap0 mtu 1234 type veth peer name other")
    bed.host.ip("link set tap0 up mtu 1400")
    daemon.wait_log("tap0 has MTU 1400 now")
    bed.host.ip("link set tap0 mtu 1500")
    daemon.wait_log("tap0 has MTU 1500 now")
    bed.host.ip("link set va mtu 1300")
    wait_for(lambda: bed.host.link("tap0")["mtu"] == 1300, "tap0 follows the uplink")
    assert bed.kern.link("tap0")["mtu"] == 1234
    bed.kern.ip("link del tap0")


def test_without_netns_more_queues_of_a_tap0_that_was_moved_away_are_refused_with_the_remedy(make_bed):
    bed = make_bed(tap_in_host=True)
    daemon = bed.start()
    bed.host.ip(f"link set tap0 netns {bed.peer.name}")
    daemon.wait_log("tap0 lies in another network namespace now, where xbridge can't go.*--netns")
    done = daemon.cli("port", "set", "kernel", "--queues", "4", check=False)
    assert done.returncode == 1 and "tap0" in done.stderr and "--netns" in done.stderr
    assert taps(bed) == {bed.peer.name: 1}


# ---- made beforehand ----

MAC, MTU, TXQLEN = "02:00:00:00:00:a1", 1400, 321
OTHER_MAC = "02:00:00:00:00:a2"


def make_tap(bed, more=""):
    bed.kern.ip("tuntap add tap0 mode tap multi_queue",
                f"link set tap0 address {MAC} mtu {MTU} txqueuelen {TXQLEN} {more}")


def settings(bed):
    link = bed.kern.link("tap0")
    return link["address"], link["mtu"], link["txqlen"]


@pytest.mark.kernels
def test_tap_made_beforehand_keeps_its_address_mtu_and_queue_length(bed):
    make_tap(bed)
    daemon = bed.start()
    assert settings(bed) == (MAC, MTU, TXQLEN)
    assert (daemon.port("tap0")["mac"], daemon.port("tap0")["mtu"]) == (MAC, MTU)
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    bed.host.ip("link set va mtu 1300")
    daemon.wait_log("uplink va has MTU 1300")
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    daemon.stop()
    assert settings(bed) == (MAC, MTU, TXQLEN)
    bed.kern.ip("link del tap0")


@pytest.mark.parametrize("end", ["stop", "failed start"])
def test_tap_made_beforehand_has_what_options_had_changed_again_at_the_end(bed, end):
    make_tap(bed)
    daemon = bed.start("--mac", OTHER_MAC, "--mtu", "1280", ready=end == "stop",
                       uplinks=None if end == "stop" else ["va", "nowhere"])
    if end == "stop":
        assert settings(bed) == (OTHER_MAC, 1280, TXQLEN)
        daemon.stop()
    else:
        assert daemon.wait_exit() == 1
    assert settings(bed) == (MAC, MTU, TXQLEN)
    bed.kern.ip("link del tap0")


def test_what_somebody_has_set_since_stays_at_the_end(bed):
    make_tap(bed)
    daemon = bed.start("--mtu", "1280")
    bed.kern.ip("link set tap0 mtu 1290 txqueuelen 123")
    daemon.wait_log("tap0 has MTU 1290 now")
    daemon.stop()
    assert settings(bed) == (MAC, 1290, 123)
    bed.kern.ip("link del tap0")


def test_tap_that_an_earlier_run_has_left_follows_the_uplinks_mtu_as_before(bed):
    bed.start("--persist").stop()
    bed.host.ip("link set va mtu 1400")
    daemon = bed.start("--persist")
    assert bed.kern.link("tap0")["mtu"] == 1400
    bed.host.ip("link set va mtu 1300")
    wait_for(lambda: bed.kern.link("tap0")["mtu"] == 1300, "tap0 follows")
    daemon.stop()
    assert bed.kern.link("tap0")["mtu"] == 1300, "it stays as it was"
    bed.kern.ip("link del tap0")


def test_option_that_disappears_from_the_file_gives_a_tap_made_beforehand_its_own_back(bed, tmp_path):
    make_tap(bed)
    path = tmp_path / "conf"
    path.write_text(f"mac {OTHER_MAC}\nmtu 1280\n")
    daemon = bed.start("--config", str(path))
    assert settings(bed) == (OTHER_MAC, 1280, TXQLEN)
    path.write_text("")
    daemon.kill(signal.SIGHUP)
    wait_for(lambda: settings(bed) == (MAC, MTU, TXQLEN), "it has its own again")
    daemon.stop()
    bed.kern.ip("link del tap0")


# ---- the namespace of --netns ----

def recreate(ns):
    ns.delete()
    subprocess.run(["ip", "netns", "add", ns.name], check=True)


def test_namespace_deleted_and_made_again_under_its_name_gets_tap0_again(bed):
    daemon = bed.start("--queues", "2")
    mac = bed.kern.mac("tap0")
    for _ in range(2):
        since = len(daemon.log)
        recreate(bed.kern)
        wait_for(lambda: bed.kern.link("tap0"), "tap0 is made there", seconds=2)
        daemon.wait_log("the network namespace .*-kern is another one now: tap0 is made there again", since=since)
        daemon.wait_log("tap0 is back", since=since)
        assert bed.kern.mac("tap0") == mac and taps(bed) == {bed.kern.name: 2}
        bed.kern.ip("link set lo up")
        bed.address_tap()
        wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    bed.kern.ip("link set tap0 down")  # heard of there, at once
    wait_for(lambda: not daemon.port("tap0")["up"], "it is seen to be down")
    daemon.rest()


def test_namespace_that_is_gone_for_a_while_is_missed_once_and_keeps_tap0(bed, tmp_path):
    daemon = bed.start()
    kept = tmp_path / "kept"  # as a process there would
    kept.write_text("")
    subprocess.run(["mount", "--bind", bed.kern.path, kept], check=True)
    try:
        bed.kern.delete()
        daemon.wait_log("warning: the network namespace .*-kern is gone: tap0 stays", seconds=2)
        assert answers(bed.peer, TAP_IP)
        wait_for(lambda: daemon.status()["uptime_s"] >= 3, "some looks later")
        assert len([line for line in daemon.log if "is gone" in line]) == 1
        subprocess.run(["ip", "netns", "add", bed.kern.name], check=True)
        wait_for(lambda: bed.kern.link("tap0"), "tap0 is made there", seconds=2)
        there = subprocess.run(["nsenter", f"--net={kept}", "ip", "link", "show", "dev", "tap0"], capture_output=True,
                               check=False)
        assert there.returncode, "tap0 is not in two namespaces"
    finally:
        subprocess.run(["umount", kept], check=True)


def test_persistent_tap0_does_not_stay_in_a_namespace_that_has_lost_its_name(bed, tmp_path):
    daemon = bed.start("--persist")
    kept = tmp_path / "kept"
    kept.write_text("")
    subprocess.run(["mount", "--bind", bed.kern.path, kept], check=True)
    try:
        recreate(bed.kern)
        daemon.wait_log("tap0 is back")
        there = subprocess.run(["nsenter", f"--net={kept}", "ip", "link", "show", "dev", "tap0"], capture_output=True,
                               check=False)
        assert there.returncode
        daemon.stop()
        bed.kern.ip("link del tap0")
    finally:
        subprocess.run(["umount", kept], check=True)


@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "a zombie"])
def test_process_whose_namespace_was_given_is_missed_when_it_ends(bed, reaped):
    process = subprocess.Popen(["nsenter", f"--net={bed.kern.path}", "sleep", "infinity"])
    wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("sleep"), "it is there")
    daemon = bed.start("--netns", f"/proc/{process.pid}/ns/net", netns=False)
    wait_for(lambda: daemon.status()["uptime_s"] >= 2, "some looks later")
    assert "warning" not in daemon.text()
    process.kill()
    if reaped:
        process.wait()
    daemon.wait_log(rf"warning: the process of --netns /proc/{process.pid}/ns/net has ended: tap0 stays.*ip netns attach",
                    seconds=2)
    assert answers(bed.peer, TAP_IP), "it goes on"
    process.wait()


# Before a command: it has no rights that the daemon has not, and so may be asked for its namespace.
WITHOUT_RIGHTS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


def test_tap0_that_is_deleted_is_made_again_in_the_namespace_of_a_process_that_lives(bed):
    process = subprocess.Popen(["nsenter", f"--net={bed.kern.path}", *WITHOUT_RIGHTS, "sleep", "infinity"])
    try:
        wait_for(lambda: runs_sleep(process.pid), "it is there")
        daemon = bed.start("--netns", f"/proc/{process.pid}/ns/net", netns=False)
        bed.kern.ip("link del tap0")
        daemon.wait_log("tap0 is back")
        assert bed.kern.link("tap0")
    finally:
        process.kill()
        process.wait()
    daemon.wait_log(rf"warning: the process of --netns /proc/{process.pid}/ns/net has ended", seconds=4)


# Gives a command the process number that is wanted, as soon as nobody else is quicker: NUMBER COMMAND…
WITH_PID = """
import os, sys
wanted = int(sys.argv[1])
while True:
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(wanted - 1))
    pid = os.fork()
    if pid == 0:
        if os.getpid() == wanted:
            os.execvp(sys.argv[2], sys.argv[2:])
        os._exit(0)
    os.waitpid(pid, 0)
    if pid == wanted:
        break
"""


def runs_sleep(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith("sleep")
    except FileNotFoundError:
        return False


def test_process_that_gets_the_number_of_one_that_has_ended_is_not_followed(bed):
    """Not at once, and not when tap0 has to be made again."""
    stranger = bed.add_netns("stranger")
    process = subprocess.Popen(["nsenter", f"--net={bed.kern.path}", "sleep", "infinity"])
    wait_for(lambda: runs_sleep(process.pid), "it is there")
    daemon = bed.start("--netns", f"/proc/{process.pid}/ns/net", netns=False)
    process.kill()
    process.wait()
    other = subprocess.Popen(["/usr/bin/python3", "-c", WITH_PID, str(process.pid), "nsenter", f"--net={stranger.path}",
                              *WITHOUT_RIGHTS, "sleep", "infinity"])
    try:
        wait_for(lambda: runs_sleep(process.pid), "another process has the number")
        daemon.wait_log(rf"warning: the process of --netns /proc/{process.pid}/ns/net has ended: tap0 stays", seconds=4)
        began = daemon.status()["uptime_s"]
        wait_for(lambda: daemon.status()["uptime_s"] >= began + 2, "some looks later")
        assert bed.kern.link("tap0") and not stranger.link("tap0") and answers(bed.peer, TAP_IP)
        bed.kern.ip("link del tap0")
        daemon.wait_log(rf"the process of --netns /proc/{process.pid}/ns/net has ended: tap0 can't be made there again")
        assert not stranger.link("tap0")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        other.wait()


# ---- MTUs ----

def lines(daemon, word):
    return [line for line in daemon.log if word in line]


def test_uplink_mtu_that_no_frame_holds_is_named_with_both_numbers_at_the_start_and_when_it_comes(bed):
    bed.host.ip("link set va mtu 9000")
    daemon = bed.start()
    said = r"warning: uplink va has MTU {}, but a frame holds 3818 at most: .*ip link set va mtu 3818$"
    daemon.wait_log(said.format(9000))
    assert bed.kern.link("tap0")["mtu"] == 3818
    assert "MTU 9000" in daemon.log[[" ready: " in line for line in daemon.log].index(True) - 1], "before it is ready"
    bed.host.ip("link set va mtu 3818")
    daemon.wait_log("uplink va has MTU 3818 and")
    wait_for(lambda: daemon.status()["uptime_s"] >= 2, "some looks later")
    assert len(lines(daemon, "a frame holds")) == 1
    bed.host.ip("link set va mtu 3819")
    daemon.wait_log(said.format(3819))


@pytest.mark.parametrize("tap_mtu", [1280, 2000])
def test_mtus_that_differ_are_named_once_with_a_remedy_that_helps(bed, tap_mtu):
    daemon = bed.start("--mtu", str(tap_mtu))
    to = "tap0" if tap_mtu < 1500 else "va"
    remedy = daemon.wait_log(rf"warning: tap0 has MTU {tap_mtu} and uplink va 1500: longer packets are dropped on the way to "
                             rf"{to} \(tx_too_long\); (.*)").group(1)
    with Wire(bed.peer, "vp") as peer, Wire(bed.kern, "tap0") as tap:
        sender = peer if to == "tap0" else tap
        sender.send(mac_bytes(bed.kern.mac("tap0")) + peer.mac + b"\x88\xb5" + bytes(1450) if to == "tap0" else
                    peer.mac + tap.mac + b"\x88\xb5" + bytes(1900))
        wait_for(lambda: drops(daemon.stats(), to).get("tx_too_long") == 1, "it is dropped there")
        subprocess.run(remedy.split(), check=True)
        daemon.wait_log("tap0 has MTU 1500 now")
        if to == "tap0":
            wait_for(lambda: daemon.port("tap0")["running"], "it runs again")
            peer.send(mac_bytes(bed.kern.mac("tap0")) + peer.mac + b"\x88\xb5" + bytes(1450))
            wait_for(lambda: tap.receive(0.1), "it arrives")
    uptime = daemon.status()["uptime_s"]
    wait_for(lambda: daemon.status()["uptime_s"] >= uptime + 2, "some looks later")
    assert len(lines(daemon, "longer packets")) == 1


def test_tap0_that_follows_the_uplinks_mtu_is_worth_no_word(bed):
    daemon = bed.start()
    for mtu in 1400, 1500, 1300:
        bed.host.ip(f"link set va mtu {mtu}")
        wait_for(lambda: bed.kern.link("tap0")["mtu"] == mtu, "tap0 follows")
    uptime = daemon.status()["uptime_s"]
    wait_for(lambda: daemon.status()["uptime_s"] >= uptime + 2, "some looks later")
    assert "longer packets" not in daemon.text()


# ---- a tap0 that stays ----

def test_persist_that_disappears_from_the_file_is_explained_with_the_command_that_removes_tap0(bed, tmp_path):
    path = tmp_path / "conf"
    path.write_text("persist\n")
    daemon = bed.start("--config", str(path))
    path.write_text("")
    daemon.kill(signal.SIGHUP)
    said = r"warning: persist is not in the file any more, but tap0 was made to stay: .*; to remove it then: (.*)"
    remedy = daemon.wait_log(said).group(1)
    daemon.stop()
    daemon = bed.start("--config", str(path))
    assert daemon.wait_log("tap0 was there before, and stays when xbridge ends; to remove it then: (.*)").group(1) == remedy
    daemon.stop()
    subprocess.run(remedy.split(), check=True)
    assert not bed.kern.link("tap0")
    assert "there before" not in bed.start("--config", str(path)).text()


# ---- the uplink's address ----

def own_entries(daemon):
    return {row["mac"]: row["port"] for row in daemon.fdb() if row["kind"] == "own"}


def forget(*namespaces):
    for ns in namespaces:
        ns.run("ip", "neigh", "flush", "all")


def check_both_ways(bed, daemon):
    before = drops(daemon.stats(), "tap0").get("smac_taken")  # what tap0 had sent by an address that it has no more
    forget(bed.peer, bed.kern)
    wait_for(lambda: answers(bed.peer, TAP_IP), "the peer reaches tap0")
    assert answers(bed.kern, peer_ip()), "and tap0 the peer"
    assert drops(daemon.stats(), "tap0").get("smac_taken") == before


def test_tap0_that_is_given_the_address_of_a_dedicated_uplink_has_it_and_gives_it_back(bed):
    bed.host.ip(f"addr add {OWN_IP}/24 dev va")
    daemon = bed.start()
    mac, uplink_mac = bed.kern.mac("tap0"), bed.host.mac("va")
    bed.kern.ip(f"link set tap0 address {uplink_mac}")
    daemon.wait_log("tap0 has the address of uplink va: frames to it go to tap0, not to the stack of va")
    assert own_entries(daemon) == {uplink_mac: "tap0"}
    check_both_ways(bed, daemon)
    bed.peer.ip(f"neigh replace {OWN_IP} lladdr {uplink_mac} dev vp")
    assert not answers(bed.peer, OWN_IP), "it is tap0's now"
    bed.kern.ip(f"link set tap0 address {mac}")
    daemon.wait_log("tap0 has another address than uplink va now: .*its own stack again")
    assert own_entries(daemon) == {mac: "tap0", uplink_mac: "va"}
    check_both_ways(bed, daemon)
    bed.peer.ip(f"neigh replace {OWN_IP} lladdr {uplink_mac} dev vp")
    wait_for(lambda: answers(bed.peer, OWN_IP), "the uplink's own stack has its address again")


def test_tap0_that_is_given_the_address_of_a_shared_uplink_is_warned_of(bed):
    daemon = bed.start(uplinks=["va"])
    mac = bed.kern.mac("tap0")
    bed.kern.ip(f"link set tap0 address {bed.host.mac('va')}")
    daemon.wait_log("warning: tap0 has the address of the shared uplink va: .*--uplink va,dedicated")
    with Wire(bed.peer, "vp", 0x88B5) as peer, Wire(bed.kern, "tap0") as tap:
        frame = peer.mac + tap.mac + b"\x88\xb5" + bytes(46)
        wait_for(lambda: not tap.send(frame) and peer.receive(0.1), "what it sends gets through")
        before = drops(daemon.stats(), "tap0").get("smac_taken")  # what tap0 had sent before xbridge knew
        for _ in range(5):
            tap.send(frame)
            assert peer.receive(5 * PATIENCE)
        assert drops(daemon.stats(), "tap0").get("smac_taken") == before
    bed.kern.ip(f"link set tap0 address {mac}")
    daemon.wait_log("tap0 has another address than uplink va now")
    check_both_ways(bed, daemon)


@pytest.mark.kernels
def test_with_mac_uplink_tap0_follows_when_the_uplinks_address_changes(bed):
    daemon = bed.start("--mac", "uplink")
    for mac in "02:00:00:00:00:c1", "02:00:00:00:00:c2":
        since = len(daemon.log)
        bed.host.ip(f"link set va address {mac}")
        daemon.wait_log(f"tap0 has the address of uplink va, which is {mac} now", since=since)
        assert bed.kern.mac("tap0") == mac
        assert own_entries(daemon) == {mac: "tap0"}
        check_both_ways(bed, daemon)
    assert daemon.rest()["ports"]["va"]["xdp"]["pass_own"] == 0


def test_address_that_somebody_has_given_tap0_is_not_replaced_by_the_uplinks(bed):
    daemon = bed.start("--mac", "uplink")
    bed.kern.ip(f"link set tap0 address {MAC}")
    daemon.wait_log("tap0 has another address than uplink va now")
    bed.host.ip("link set va address 02:00:00:00:00:c1")
    wait_for(lambda: own_entries(daemon) == {MAC: "tap0", "02:00:00:00:00:c1": "va"}, "both are known")
    check_both_ways(bed, daemon)
    assert bed.kern.mac("tap0") == MAC


def test_tap_made_beforehand_with_the_address_of_a_dedicated_uplink_has_it_from_the_start(bed):
    uplink_mac = bed.host.mac("va")
    bed.kern.ip("tuntap add tap0 mode tap", f"link set tap0 address {uplink_mac}")
    daemon = bed.start()
    daemon.wait_log("tap0 has the address of uplink va: frames to it go to tap0")
    check_both_ways(bed, daemon)
    daemon.stop()
    assert bed.kern.mac("tap0") == uplink_mac
    bed.kern.ip("link del tap0")
