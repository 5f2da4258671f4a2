# SPDX-License-Identifier: BSD-2-Clause
"""Where pins lie: in the BPF file system that everybody sees, in one of the daemon's own mount namespace (as under
`ip netns exec`), or in one that --bpffs names."""

import glob
import json
import os
import signal
import subprocess

import pytest

from load import answers
from xbridge import PIN_ROOT, TAP_IP, binary, wait_for

PRIVATE = "is this mount namespace's own, as under `ip netns exec`"


@pytest.fixture(name="elsewhere")
def bpffs_elsewhere(tmp_path):
    """A BPF file system that mount namespaces made later have, too."""
    subprocess.run(["mount", "-t", "bpf", "bpf", tmp_path], check=True)
    yield str(tmp_path)
    subprocess.run(["umount", tmp_path], check=True)


def netns_exec(bed):
    return ["ip", "netns", "exec", bed.host.name]


def doctor(bed, *words):
    done = subprocess.run([*netns_exec(bed), binary(), "doctor", "-j", *words], capture_output=True, text=True, check=False)
    return next(finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "bpffs")


@pytest.mark.kernels
def test_a_private_bpffs_is_warned_of_and_the_usual_one_is_not(make_bed):
    bed = make_bed()
    daemon = bed.start(wrap=netns_exec(bed))
    assert PRIVATE in daemon.wait_log("warning: the BPF file system at /sys/fs/bpf .*--net=/run/netns/.*--bpffs PATH")[0]
    assert answers(bed.peer, TAP_IP)
    assert not os.path.exists(f"{PIN_ROOT}/{bed.name}"), "that is what the warning is about"
    daemon.stop()
    assert PRIVATE not in bed.start().text()
    assert os.path.exists(f"{PIN_ROOT}/{bed.name}")


@pytest.mark.kernels
def test_pins_in_a_bpffs_that_was_named_outlive_the_daemon_and_its_mount_namespace(make_bed, elsewhere):
    bed = make_bed()
    daemon = bed.start("--bpffs", elsewhere, "--rule", "proto udp dport 7 to drop", wrap=netns_exec(bed))
    assert PRIVATE not in daemon.text()
    assert answers(bed.peer, TAP_IP)
    for name in "config", "rules", "verdict_stats":
        subprocess.run(["bpftool", "map", "dump", "pinned", f"{elsewhere}/xbridge/{bed.name}/{name}"], check=True,
                       capture_output=True)
    assert not os.path.exists(f"{PIN_ROOT}/{bed.name}")
    daemon.kill(signal.SIGKILL)
    daemon.wait_exit()
    assert "xdp" in bed.host.link("va"), "rules that drop stay in force"
    done = subprocess.run([binary(), "doctor", "-j", "--bpffs", elsewhere], capture_output=True, text=True, check=False)
    assert f"nsenter --net=/run/netns/{bed.host.name} xbridge detach va --bpffs {elsewhere} removes it" in done.stdout
    done = subprocess.run([binary(), "detach", "va", "--bpffs", elsewhere], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"'{bed.name}' has one" in done.stderr
    assert "nsenter --net=/run/netns/NAME xbridge detach va" in done.stderr
    detach = [*netns_exec(bed), binary(), "detach", "va", "--bpffs", elsewhere]
    subprocess.run(detach, check=True)
    wait_for(lambda: "xdp" not in bed.host.link("va"), "it is off")
    assert not glob.glob(f"{elsewhere}/xbridge*")
    for left in glob.glob(f"/run/xbridge/{bed.name}.*"):
        os.unlink(left)


def explain(bed, *words, wrap=()):
    """What `explain` says of what a rule drops, asked in the test's own namespaces unless `wrap` leads elsewhere."""
    return subprocess.run([*wrap, binary(), "explain", "--name", bed.name, "proto", "udp", "dport", "7", *words],
                          capture_output=True, text=True, check=False)


@pytest.mark.kernels
@pytest.mark.parametrize("place", ["usual", "named", "private"])
def test_explain_finds_the_pins_wherever_the_daemon_has_them(make_bed, elsewhere, place):
    bed = make_bed()
    words = ["--bpffs", elsewhere] if place == "named" else []
    daemon = bed.start(*words, "--rule", "proto udp dport 7 to drop", wrap=netns_exec(bed) if place == "private" else ())
    for wrap in (), netns_exec(bed), ["nsenter", f"--net=/run/netns/{bed.host.name}"]:
        done = explain(bed, wrap=wrap)
        assert done.returncode == 0 and "drop, by rule 1" in done.stdout, done.stderr
    status = daemon.status()
    assert status["bpffs"] == (elsewhere if place == "named" else "/sys/fs/bpf")
    assert status["bpffs_private"] == (place == "private")
    line = f"BPF file system: {status['bpffs']}" + (", of its mount namespace alone" if place == "private" else "")
    assert line in daemon.cli("status").stdout.splitlines()


def test_explain_looks_where_it_is_told_to_and_says_what_it_misses_there(make_bed, elsewhere):
    bed = make_bed()
    bed.start("--rule", "proto udp dport 7 to drop")
    done = explain(bed, "--bpffs", elsewhere)
    assert done.returncode == 1 and f"{elsewhere}/xbridge/{bed.name}" in done.stderr
    assert "xbridge status" in done.stderr and "netns exec" not in done.stderr
    assert explain(bed, "--bpffs", "/sys/fs/bpf").returncode == 0
    blind = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/bpf; mount -t tmpfs none /proc; exec "$@"', "sh"]
    done = explain(bed, wrap=blind)
    assert done.returncode == 1 and "/sys/fs/bpf in the mount namespace of process" in done.stderr


@pytest.mark.kernels
@pytest.mark.parametrize("place", ["named", "private"])
def test_a_program_whose_pins_are_elsewhere_is_known_as_its_instance_s(make_bed, elsewhere, place):
    bed = make_bed()
    words = ["--bpffs", elsewhere] if place == "named" else []
    daemon = bed.start(*words, wrap=netns_exec(bed))
    for wrap in netns_exec(bed), ["nsenter", f"--net=/run/netns/{bed.host.name}"]:
        done = subprocess.run([*wrap, binary(), "doctor", "-j", "va"], capture_output=True, text=True, check=False)
        found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
        text = found["program"]["text"]
        assert done.returncode == 0 and found["program"]["state"] == "note", done.stdout
        assert f"of instance '{bed.name}', which runs" in text and f"at {daemon.status()['bpffs']}" in text
        assert ("its own mount namespace" in text) == (place == "private")
        assert found["running"]["text"] == f"instance '{bed.name}' reports no trouble"
        done = subprocess.run([*wrap, binary(), "detach", "va"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and f"the instance '{bed.name}' is running on it" in done.stderr
    assert answers(bed.peer, TAP_IP)


def test_a_dispatcher_is_found_in_the_bpffs_that_was_named(make_bed, elsewhere):
    """libxdp, too, pins there."""
    bed = make_bed()
    daemon = bed.start("--bpffs", elsewhere)
    if daemon.port("va")["attached"] == "dispatcher":
        assert glob.glob(f"{elsewhere}/xdp/dispatch-*")
    bed.host.ip("link set va txqueuelen 999")  # it looks whether its program is still there
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    daemon.stop()
    assert "has lost" not in daemon.text()
    assert not glob.glob(f"{elsewhere}/xbridge*")


def refusals(bed):
    """What a start, `detach` and `doctor` say who look for the pins in the usual place."""
    daemon = bed.start(ready=False)
    assert daemon.wait_exit() == 1
    detach = daemon.cli("detach", "va", check=False, named=False)
    assert detach.returncode == 1
    (found,) = [finding for finding in daemon.doctor("va") if finding["check"] == "program"]
    assert found["state"] == "fail" and "somebody else" not in found["text"]
    return daemon.log[-1], detach.stderr, f"{found['text']}; {found['remedy']}"


@pytest.mark.kernels
def test_a_dispatcher_whose_pins_went_with_a_mount_namespace_is_named_with_what_takes_it_off(make_bed):
    bed = make_bed()
    daemon = bed.start(wrap=netns_exec(bed))
    behind = daemon.port("va")["attached"] == "dispatcher"
    daemon.kill(signal.SIGKILL)
    daemon.wait_exit()
    if behind:
        remedy = f"ip link set dev va {'xdp' if daemon_was_native(bed) else 'xdpgeneric'} off"
        for said in refusals(bed):
            assert "xdp_dispatcher" in said and "libxdp's" in said and "ip netns exec" in said and remedy in said, said
        subprocess.run(bed.in_host(*remedy.split()), check=True)
    wait_for(lambda: "xdp" not in bed.host.link("va"), "nothing is left on the uplink")
    bed.start()
    assert answers(bed.peer, TAP_IP)


def daemon_was_native(bed):
    return bed.host.link("va")["xdp"]["mode"] == 1


def test_a_program_that_is_pinned_elsewhere_is_named_with_what_takes_it_off(make_bed, elsewhere):
    bed = make_bed()
    daemon = bed.start("--bpffs", elsewhere, uplinks=["va,dedicated,xdp=exclusive"])
    daemon.kill(signal.SIGKILL)
    daemon.wait_exit()
    for said in refusals(bed):
        assert "steer" in said and "pins in another BPF file system" in said and "xbridge detach --bpffs PATH va" in said
    daemon.cli("detach", "va", "--bpffs", elsewhere, named=False)
    wait_for(lambda: "xdp" not in bed.host.link("va"), "it is off")
    for left in glob.glob(f"/run/xbridge/{bed.name}.*"):
        os.unlink(left)


@pytest.mark.parametrize("words", [["run", "--uplink", "lo"], ["detach", "lo"], ["doctor"]], ids=lambda words: words[0])
def test_a_path_where_no_bpffs_is_mounted_is_refused(words, tmp_path):
    done = subprocess.run([binary(), *words, "--bpffs", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"no BPF file system is mounted at {tmp_path}; mount -t bpf bpf {tmp_path}" in done.stderr


def test_doctor_tells_of_a_private_bpffs(make_bed, elsewhere):
    bed = make_bed()
    # what `run` would do, in the mount namespace that the command makes
    script = f'mount -t bpf bpf /sys/fs/bpf; exec "{binary()}" doctor -j'
    done = subprocess.run([*netns_exec(bed), "sh", "-c", script], capture_output=True, text=True, check=False)
    found = next(finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "bpffs")
    assert found["state"] == "warn" and "mount namespace's own" in found["text"] and "nsenter --net" in found["remedy"]
    assert doctor(bed, "--bpffs", elsewhere)["state"] == "ok"
    found = doctor(bed)  # where it is not mounted yet
    assert found["state"] == "warn" and "nsenter --net" in found["remedy"] and "mount -t" not in found["remedy"]


def instances(*wrap):
    """What `doctor` finds about instances that run."""
    done = subprocess.run([*wrap, binary(), "doctor", "-j"], capture_output=True, text=True, check=False)
    return [finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "instances"]


def test_doctor_tells_of_pins_that_it_does_not_see(make_bed):
    bed = make_bed()
    daemon = bed.start(wrap=netns_exec(bed))
    note, last = instances()
    assert note["state"] == "note" and f"'{bed.name}' pins in a BPF file system of its own mount namespace" in note["text"]
    seen = note["remedy"].split()[:2]
    assert seen == ["nsenter", f"--mount=/proc/{daemon.pid}/ns/mnt"] and last["state"] == "ok"
    maps = subprocess.run([*seen, "ls", f"{PIN_ROOT}/{bed.name}"], capture_output=True, text=True, check=True).stdout
    assert "rules" in maps.split()
    daemon.stop()
    bed.start()
    assert [finding["state"] for finding in instances()] == ["ok"]
    note, _ = instances(*netns_exec(bed))
    assert "not seen in this mount namespace" in note["text"]
