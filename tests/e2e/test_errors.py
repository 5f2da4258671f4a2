# SPDX-License-Identifier: BSD-2-Clause
"""A start that can't be: what is wrong, on what, why, and what to do; and nothing is left behind."""

import os
import re
import subprocess

import pytest

from load import answers
from xbridge import BACKEND, PIN_ROOT, RUN_DIR, TAP_IP, binary

NO_CAPS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


@pytest.fixture
def bed(make_bed):
    return make_bed()


def refused(bed, *options, status=1, **how):
    """Starts it, which fails, and returns the one line that it says of that."""
    daemon = bed.start(*options, ready=False, **how)
    assert daemon.wait_exit() == status, daemon.text()
    if len(bed.daemons) == 1:
        assert not bed.leftovers()
    errors = [line for line in daemon.log if line.startswith("xbridge: error: ")]
    assert len(errors) == 1 and errors[0] == daemon.log[-1], daemon.text()
    return errors[0]


def without(*capabilities):
    """Words before the program, which then lacks these."""
    names = ",".join("-" + name for name in capabilities)
    return ["setpriv", f"--inh-caps={names}", f"--bounding-set={names}"]


def mounted(options, path=RUN_DIR):
    """Words before the program, which then sees an own tmpfs at a path."""
    return ["sh", "-c", f'mkdir -p {path} && mount -t tmpfs -o {options} tmpfs {path} && exec "$@"', "sh"]


# words before the program, which then sees a /dev without vhost-net, wherever this is
TUN_ALONE = ["sh", "-c", 'mount -t tmpfs -o mode=755 tmpfs /dev && mkdir /dev/net && mknod /dev/net/tun c 10 200 && exec "$@"',
             "sh"]


# ---- usage ----

# what is typed, what is said of it
USAGE = [
    (["--frobnicate"], "no option '--frobnicate'"),
    (["--uplnk", "eth0"], "no option '--uplnk'; did you mean '--uplink'?"),
    (["--cpus", "0,"], "cpus '0,': a list of CPUs"),
    (["extra"], "no option 'extra'"),
    (["--queues"], "queues: N is expected"),
    (["--queues", "0"], "queues '0': a number from 1 to 64"),
    (["--queues", "1e3"], "queues '1e3': a number"),
    (["--queue-size", "100"], "power of two"),
    (["--persist=yes"], "persist takes no value"),
    (["--mac", "01:00:00:00:00:01"], "unicast"),
    (["--mac", "2:0:0:0:0:1"], "like 02:00:00:00:00:01"),
    (["--mtu", "67"], "from 68"),
    (["--default", "maybe"], "pass, bridge, drop"),
    (["--ifname", "a23456789012345x"], "of 1 to 15 characters"),
    (["--name", "x" * 64], "of 1 to 63 characters"),
    (["--name", "a/b"], "name 'a/b'"),
    (["--name", ".hidden"], "name '.hidden'"),
    (["--name", "a b"], "name 'a b'"),
    (["--ifname", "va"], "'va' is both uplink and ifname"),
    (["--uplink", "va"], "'va': named twice"),
    (["--uplink", "vb,shared,dedicated"], "uplink 'shared,dedicated': one of these words is expected"),
    (["--queues", "2", "--queues", "4"], "queues is given twice"),
    (["--uplink", "vb,blue"], "uplink 'blue'"),
    (["--uplink", ""], "uplink"),
    (["--uplink", "a23456789012345x"], "of 1 to 15 characters"),
    (["--tap-fd", "x"], "list of descriptors"),
    (["--tap-fd", "3", "--ifname", "tap1"], "tap-fd"),
    (["--cpus", "x"], "list of CPUs"),
    (["--workers", "0"], "from 1"),
    (["--stall-ms", "1"], "from 100"),
    (["--frames", "1"], "from 1024"),
    (["--rule", "to drop", "--rule", "proto tpc to drop"], "rule 2, 'proto tpc to drop', character 7, 'tpc': "),
    (["--config", "/nonexistent"], "open /nonexistent: No such file"),
]


@pytest.mark.parametrize("options, text", USAGE, ids=[" ".join(options)[:40] for options, _ in USAGE])
def test_wrong_usage_is_told_with_what_is_expected(bed, options, text):
    line = refused(bed, *options, status=2)
    assert text in line
    assert line.endswith("; `xbridge run --help` lists the options")


@pytest.mark.parametrize("words, parts", [
    (["--help"], ["Usage: xbridge run [OPTION]...", "  steer load ", "  detach ", "--json, -j"]),
    (["-h"], ["Usage: xbridge run [OPTION]..."]),
    (["status", "--help"], ["Usage: xbridge status\n", "--json, -j", "xbridge status --json"]),
    (["port", "set", "--help"], ["Usage: xbridge port set NAME ", "--queues N", "xbridge port set kernel --queues 4"]),
    (["help", "steer", "load"], ["Usage: xbridge steer load FILE|- ", "--confirm SECONDS"]),
    (["run", "--help"], ["Usage: xbridge run [OPTION]...\n", "--uplink IFACE", "--vhost-net", "--stall-ms MS", "--rule"]),
    (["run", "-h"], ["--uplink IFACE"]),
    (["--version"], ["xbridge "])], ids=" ".join)
def test_help_and_version_are_printed_for_whoever_asks(words, parts):
    done = subprocess.run([binary(), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(part in done.stdout for part in parts), done.stdout


def test_no_command_is_wrong_usage():
    done = subprocess.run([binary()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and "Usage: xbridge run" in done.stderr


def test_mac_uplink_without_an_uplink_is_wrong_usage(make_bed):
    bed = make_bed(uplinks=0, tap_in_host=True)
    assert "there is no uplink" in refused(bed, "--mac", "uplink", uplinks=[], status=2)


# ---- what is not there, or taken ----

def test_missing_uplink(bed):
    assert "interface 'nowhere' does not exist" in refused(bed, uplinks=["nowhere"])


def test_a_cpu_that_is_not_there(bed):
    line = refused(bed, "--cpus", "0,1000")
    assert "pin a worker to CPU 1000, where CPUs 0" in line and "cpuset" in line
    assert "xdp" not in bed.host.link("va")


def test_second_of_two_uplinks_missing_leaves_the_first_as_it_was(bed):
    assert "nowhere" in refused(bed, uplinks=["va", "nowhere"])
    assert "xdp" not in bed.host.link("va")


def test_uplink_that_is_no_ethernet(bed):
    assert "lo can't be an uplink: it is not an Ethernet interface" in refused(bed, uplinks=["lo"])


def test_missing_network_namespace(bed):
    line = refused(bed, "--netns", "nowhere", netns=False)
    assert "/run/netns/nowhere: No such file or directory; `ip netns list`" in line


def test_interface_of_the_taps_name_that_is_no_tap(bed):
    bed.kern.ip("link add tap0 type veth peer name other")
    bed.forgive_leftovers = True
    line = refused(bed)
    assert "the interface tap0 exists and is not a TAP" in line and "choose another name" in line
    assert "xdp" not in bed.host.link("va") and not os.path.exists(f"{PIN_ROOT}/{bed.name}")


@pytest.mark.kernels
def test_tap_with_a_single_queue_where_two_are_wanted(bed):
    bed.kern.ip("tuntap add tap0 mode tap")
    bed.forgive_leftovers = True
    line = refused(bed, "--queues", "2")
    assert "the TAP tap0 exists and has a single queue" in line and "multi_queue" in line


def test_second_instance_of_the_same_name(bed):
    first = bed.start()
    line = refused(bed, "--ifname", "tap1", uplinks=[])
    assert f"an instance named '{bed.name}' is running" in line and "another --name" in line
    assert answers(bed.peer, TAP_IP)
    assert first.status()["pid"] == first.pid


@pytest.mark.kernels
def test_second_instance_on_the_same_tap(bed):
    bed.start()
    line = refused(bed, "--name", f"{bed.name}b", uplinks=[])
    assert "attach to the TAP tap0" in line and "another program holds it" in line
    assert answers(bed.peer, TAP_IP)
    assert not os.path.exists(f"{RUN_DIR}/{bed.name}b.lock")


def test_second_instance_on_the_same_uplink_names_the_first(bed):
    daemon = bed.start()
    line = refused(bed, "--name", f"{bed.name}b", "--ifname", "tap1")
    assert f"attach to va: the instance '{bed.name}' of xbridge is on it" in line and "stop that one" in line
    assert answers(bed.peer, TAP_IP)
    assert not os.path.exists(f"{PIN_ROOT}/{bed.name}b")
    daemon.rest()


def test_foreign_program_on_the_uplink_is_named_and_left_alone(bed, tmp_path):
    source = tmp_path / "pass.c"
    source.write_text('__attribute__((section("xdp"))) int pass(void *ctx) { return 2; }\n')
    bed.host.run("clang", "-O2", "-target", "bpf", "-c", str(source), "-o", str(tmp_path / "pass.o"))
    bed.host.ip(f"link set va xdp obj {tmp_path}/pass.o sec xdp")
    bed.forgive_leftovers = True
    line = refused(bed)
    assert re.search(r"another XDP program is there \(id \d+, pass\)", line) and "ip link set dev va xdp off" in line
    assert bed.host.link("va")["xdp"]["prog"]["name"] == "pass"


def test_mac_of_a_shared_uplink_is_not_given_away(bed):
    line = refused(bed, "--mac", "uplink", uplinks=["va"])
    assert "va is shared (by default)" in line and "--uplink va,dedicated" in line


def test_too_few_frames_for_the_rings(bed):
    line = refused(bed, "--frames", "1024")
    assert "1024 frames are too few to fill the rings" in line and "give more --frames, at least 3072" in line
    daemon = bed.start("--frames", "3072")
    assert answers(bed.peer, TAP_IP) and daemon.status()["arena"]["frames"] == 3072


@pytest.mark.kernels
def test_vhost_net_where_there_is_none(bed):
    line = refused(bed, "--vhost-net", backend=None, wrap=TUN_ALONE)
    assert "open /dev/vhost-net: No such file or directory; load the module (modprobe vhost_net)" in line
    assert "use the TAP without it (--tap)" in line


@pytest.mark.kernels
def test_without_either_flag_no_vhost_net_is_no_trouble(bed):
    daemon = bed.start(backend=None, wrap=TUN_ALONE)
    daemon.wait_log(r"through the TAP alone, without vhost-net \(open /dev/vhost-net: No such file or directory\)")
    assert answers(bed.peer, TAP_IP)


def test_host_without_tun(bed):
    line = refused(bed, "--tap", backend=None, wrap=mounted("mode=755", "/dev/net"))
    assert "open /dev/net/tun: No such file" in line and "modprobe tun" in line


# ---- permission ----

@pytest.mark.parametrize("missing, tap_in_host, text", [
    (["net_admin"], False, "CAP_NET_ADMIN"), (["net_raw"], False, "CAP_NET_RAW"),
    (["sys_admin"], False, "CAP_SYS_ADMIN"), (["bpf", "sys_admin"], True, "CAP_BPF")], ids=["net_admin", "net_raw", "sys_admin", "bpf"])
def test_missing_capability_is_named(make_bed, missing, tap_in_host, text):
    line = refused(make_bed(tap_in_host=tap_in_host), wrap=without(*missing))
    assert "Operation not permitted" in line and text in line


def test_without_any_capability_the_first_that_is_missing_is_named(bed):
    line = refused(bed, wrap=NO_CAPS)
    assert "Operation not permitted" in line and re.search("CAP_|root", line)


def test_namespace_of_a_process_that_may_not_be_looked_at_is_to_be_named(bed):
    with subprocess.Popen(["sleep", "60"]) as process:
        line = refused(bed, "--netns", f"/proc/{process.pid}/ns/net", wrap=without("sys_ptrace"))
        process.kill()
    assert "Permission denied" in line and "CAP_SYS_PTRACE" in line and "ip netns attach NAME PID" in line


def test_another_user_is_told_where_the_control_socket_would_be(bed):
    line = refused(bed, wrap=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert f"{RUN_DIR}" in line and "Permission denied" in line and "run as root, or make it writable" in line


# Runs a command under a seccomp filter that refuses one system call, on whatever machine this is.
REFUSE = """
import ctypes, os, struct, sys
ops = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in ops))
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(ops), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, prog) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execvp(sys.argv[2], sys.argv[2:])
"""
CAPSET = {"x86_64": 126, "aarch64": 91}


@pytest.mark.skipif(os.uname().machine not in CAPSET, reason="the number of capset is not known here")
def test_workers_that_can_not_give_up_their_capabilities_do_not_start(make_bed):
    bed = make_bed(uplinks=0, tap_in_host=True)
    wrap = ["/usr/bin/python3", "-c", REFUSE, str(CAPSET[os.uname().machine])]
    line = refused(bed, uplinks=[], wrap=wrap)
    assert "give up the capabilities of the workers: Operation not permitted" in line and "seccomp" in line


# ---- /run ----

def test_full_run_directory(bed):
    line = refused(bed, wrap=mounted("nr_inodes=1"))
    assert f"{RUN_DIR}/{bed.name}.lock: No space left on device" in line and "make room" in line


def test_run_directory_that_is_full_once_the_lock_is_made(bed):
    line = refused(bed, wrap=mounted("nr_inodes=2"))
    assert f"{RUN_DIR}/{bed.name}.sock: No space left on device" in line and "make room" in line
    assert "xdp" not in bed.host.link("va") and not bed.kern.link("tap0")


@pytest.mark.parametrize("options, wrap, text", [
    (["--rule", "to drop", "--rule", "to nowhere"], [], "rule 2, character 4, 'nowhere': there is no such port; "),
    ([], mounted("nr_inodes=2"), ".sock: No space left on device")], ids=["rule", "socket"])
def test_start_that_fails_takes_a_tap_that_was_to_persist_with_it(bed, options, wrap, text):
    assert text in refused(bed, "--persist", *options, wrap=wrap)
    assert not bed.kern.link("tap0")


def test_full_run_directory_of_a_running_daemon_is_no_trouble(bed):
    daemon = bed.start(wrap=mounted("nr_inodes=3"))
    assert answers(bed.peer, TAP_IP)
    daemon.stop()


def test_read_only_run_directory(bed):
    line = refused(bed, wrap=mounted("ro"))
    assert "Read-only file system" in line and RUN_DIR in line


def test_name_as_long_as_can_be_works(bed):
    name = "x" * 63
    daemon = bed.start("--name", name)
    assert f'"name": "{name}"' in bed.host.run(daemon.argv[0], "status", "-j", "--name", name).stdout
    assert answers(bed.peer, TAP_IP)
    daemon.stop()
    assert not os.path.exists(f"{PIN_ROOT}/{name}") and not os.path.exists(f"{RUN_DIR}/{name}.sock")


@pytest.mark.kernels
def test_backend_is_said_with_its_reason(bed):
    daemon = bed.start(backend=None)
    if BACKEND == "tap":
        daemon.wait_log(r"tap0: through the TAP alone, without vhost-net \(open /dev/vhost-net: .*\)")
    else:
        daemon.wait_log("tap0: through vhost-net, since this host has it")
