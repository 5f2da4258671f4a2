# SPDX-License-Identifier: BSD-2-Clause
"""In a sandbox that is too tight, xbridge and doctor say which wall it is, and what to do.

The walls are made with what there is everywhere: seccomp filters, mounts, cgroups (v1 or v2), rlimits."""

import json
import re
import subprocess

import pytest

from filtered import filtered
from traffic import tcp_copy
from xbridge import IN_VM, SANITIZED, TAP_IP, asan_options, binary, peer_ip

SOCKET, BPF, EPERM, EAFNOSUPPORT, AF_PACKET, AF_XDP = 41, 321, 1, 97, 17, 44

# Runs a command in a cgroup of its own: CONTROLLER LIMIT NAME COMMAND…
CGROUP = """
controller=$1 limit=$2 name=$3; shift 3
mount -t tmpfs tmpfs /sys/fs/cgroup
if [ "$(awk -v c=$controller '$1 == c { print $2 }' /proc/cgroups)" = 0 ]; then
    mount -t cgroup2 none /sys/fs/cgroup && echo +$controller >/sys/fs/cgroup/cgroup.subtree_control
    dir=/sys/fs/cgroup/$name file=$controller.max
else
    mkdir /sys/fs/cgroup/$controller && mount -t cgroup -o $controller none /sys/fs/cgroup/$controller
    dir=/sys/fs/cgroup/$controller/$name file=$controller.max
    [ $controller = memory ] && file=memory.limit_in_bytes
fi
if [ "$limit" = remove ]; then rmdir $dir; exit; fi
mkdir -p $dir && echo $limit >$dir/$file && echo $$ >$dir/cgroup.procs && exec "$@"
"""


@pytest.fixture
def bed(make_bed):
    return make_bed()


@pytest.fixture
def limited(bed):
    """Words before a command, for a cgroup with a limit, which goes with the test."""
    made = []

    def words(controller, limit):
        made.append(controller)
        return ["sh", "-c", CGROUP, "sh", controller, str(limit), f"{bed.name}-{controller}"]
    yield words
    for controller in set(made):
        bed._stop_daemons()  # pylint: disable=protected-access
        subprocess.run(bed.in_host("sh", "-c", CGROUP, "sh", controller, "remove", f"{bed.name}-{controller}"), check=False)


def refused(bed, *options, **how):
    """Starts it, which fails, and returns the one line that it says of that."""
    daemon = bed.start(*options, ready=False, **how)
    assert daemon.wait_exit() == 1, daemon.text()
    errors = [line for line in daemon.log if line.startswith("xbridge: error: ")]
    assert len(errors) == 1, daemon.text()
    return errors[0]


def findings(bed, check, *words, wrap=()):
    done = subprocess.run(bed.in_host(*wrap, binary(), "doctor", "-j", *words), capture_output=True, text=True, env=bed.env,
                          check=False)
    return [found for found in json.loads(done.stdout)["findings"] if found["check"] == check]


@pytest.mark.parametrize("family, number, check, uplink", [
    ("AF_XDP", AF_XDP, "af_xdp", "va,dedicated"), ("AF_PACKET", AF_PACKET, "af_packet", "va,shared")])
def test_family_of_sockets_that_a_sandbox_forbids_is_not_taken_for_one_that_the_kernel_lacks(bed, family, number, check, uplink):
    wrap = filtered(SOCKET, EAFNOSUPPORT, number)
    line = refused(bed, wrap=wrap, uplinks=[uplink])
    assert f"the kernel has {family}, but a sandbox forbids it" in line and "RestrictAddressFamilies=" in line
    (finding,) = findings(bed, check, wrap=wrap)
    assert finding["state"] == "fail" and "RestrictAddressFamilies=" in finding["remedy"]


def test_sandbox_without_bpf_is_named(bed):
    wrap = filtered(BPF, EPERM)
    bed.forgive_leftovers = True  # a folder of pins, which only bpf() could tell to be nobody's
    line = refused(bed, wrap=wrap)
    assert "Operation not permitted" in line and re.search("container|seccomp", line), line
    (finding,) = [found for found in findings(bed, "bpf", wrap=wrap) if found["state"] == "fail"]
    assert "seccomp" in finding["remedy"]


def test_read_only_bpffs_is_named_with_its_remedy(bed):
    wrap = ["sh", "-c", 'mount --bind /sys/fs/bpf /sys/fs/bpf && mount -o remount,bind,ro /sys/fs/bpf && exec "$@"', "sh"]
    line = refused(bed, wrap=wrap)
    assert "Read-only file system" in line and "remount,rw /sys/fs/bpf" in line and "ReadWritePaths=" in line
    (finding,) = findings(bed, "bpffs", wrap=wrap)
    assert finding["state"] == "fail" and "remount,rw" in finding["remedy"]


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory exceeds the limit")
def test_memory_limit_that_is_too_low_is_told_before_the_kernel_kills(bed, limited):
    wrap = limited("memory", 48 << 20)
    line = refused(bed, "--frames", "32768", wrap=wrap)
    assert "32768 frames take 130 MiB" in line and "limit of 48 MiB" in line and "--frames" in line and "MemoryMax=" in line
    (finding,) = findings(bed, "cgroup", "va", wrap=wrap)
    assert finding["state"] == "fail" and "48 MiB" in finding["text"] and "--frames" in finding["remedy"]


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory exceeds the limit")
def test_a_sidecar_with_64_mb_survives(bed, limited):
    daemon = bed.start(wrap=limited("memory", 64 << 20))
    for _ in range(3):
        tcp_copy(bed.peer, bed.kern, TAP_IP, 8 << 20)
        tcp_copy(bed.kern, bed.peer, peer_ip(), 8 << 20)
    daemon.ask("port", "set", "kernel", "--queues", "2")
    daemon.rest()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory exceeds the limit")
def test_number_of_frames_that_is_proposed_fits_into_the_memory_limit(bed, limited):
    """As typed in a container: what the error proposes starts, and carries traffic."""
    wrap = limited("memory", 48 << 20)
    line = refused(bed, wrap=wrap)
    frames = re.search(r"or give --frames (\d+)$", line)[1]
    daemon = bed.start("--frames", frames, wrap=wrap)
    tcp_copy(bed.peer, bed.kern, TAP_IP, 4 << 20)
    tcp_copy(bed.kern, bed.peer, peer_ip(), 4 << 20)
    daemon.rest()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory exceeds the limit")
def test_memory_limit_that_doctor_proposes_is_enough(bed, limited):
    (finding,) = findings(bed, "cgroup", "va", wrap=limited("memory", 48 << 20))
    proposed = int(re.search(r"MemoryMax=(\d+)M", finding["remedy"])[1])
    daemon = bed.start(wrap=limited("memory", proposed << 20))
    frames = daemon.status()["arena"]["frames"]
    assert f"{frames} by default" in finding["remedy"]
    tcp_copy(bed.peer, bed.kern, TAP_IP, 4 << 20)
    daemon.rest()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own memory exceeds the limit")
def test_memory_limit_that_no_number_of_frames_fits_into_is_named_with_what_is_needed(bed, limited):
    line = refused(bed, wrap=limited("memory", 40 << 20))
    assert re.search(r"raise it \(MemoryMax=\) to \d+ MiB at least", line) and "--frames" not in line, line


@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_limit_of_processes_is_named_with_the_real_reason(bed, limited, tasks):
    wrap = limited("pids", tasks)
    daemon = bed.start("--workers", "4", wrap=wrap, ready=False)
    assert daemon.wait_exit() == 1, daemon.text()
    error = next(line for line in daemon.log if line.startswith("xbridge: error: "))
    assert "Resource temporarily unavailable" in error or "Cannot allocate memory" in error, daemon.text()
    assert f"the cgroup allows {tasks} processes and threads" in error and "TasksMax=" in error


@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_limit_of_a_users_processes_is_named_with_the_real_reason(make_bed, tasks):
    """It binds who has no right to go beyond limits: a user with the one capability that a TAP takes (and that to use
    the folder of sockets)."""
    bed = make_bed(uplinks=0, tap_in_host=True)
    caps = "-all,+net_admin,+dac_override"
    # the search for leaks makes a process
    user = ["env", asan_options("detect_leaks=0"), "setpriv", "--reuid=64321", "--regid=64321", "--clear-groups",
            f"--inh-caps={caps}", f"--ambient-caps={caps}"]
    line = refused(bed, "--queues", "4", "--workers", "4", backend="tap", wrap=[*user, "prlimit", f"--nproc={tasks}:{tasks}"])
    assert "Resource temporarily unavailable" in line, line
    assert f"this user may have {tasks} processes and threads" in line and "ulimit -u" in line and "LimitNPROC=" in line, line


def test_doctor_compares_the_limit_of_processes_with_what_is_needed(bed, limited):
    (finding,) = findings(bed, "cgroup", wrap=limited("pids", 12))
    assert finding["state"] == "warn" and "12 processes and threads are allowed" in finding["text"]


@pytest.mark.parametrize("most", range(6, 46, 4))
def test_every_place_that_lacks_a_descriptor_names_the_limit(bed, most):
    wrap = ["setpriv", "--inh-caps=-sys_resource", "--bounding-set=-sys_resource", "prlimit", f"--nofile={most}:{most}"]
    daemon = bed.start(wrap=wrap, ready=False)
    daemon.wait_log("ready|error")
    if "ready" in daemon.text():
        return
    assert daemon.wait_exit() == 1
    error = next(line for line in daemon.log if line.startswith("xbridge: error: "))
    assert "Too many open files" in error and "ulimit -n" in error, daemon.text()


@pytest.mark.vm
@pytest.mark.skipif(not IN_VM, reason="the JIT is the whole host's: in VMs")
def test_kernel_that_interprets_programs_is_told_to_compile_them(bed):
    path = "/proc/sys/net/core/bpf_jit_enable"
    with open(path) as file:
        was = file.read()
    with open(path, "w") as file:
        file.write("0")
    try:
        (finding,) = [found for found in findings(bed, "bpf") if "bpf_jit_enable" in found["text"]]
        line = refused(bed)
    finally:
        with open(path, "w") as file:
            file.write(was)
    assert finding["state"] == "fail" and finding["remedy"] == "sysctl -w net.core.bpf_jit_enable=1"
    assert "sysctl -w net.core.bpf_jit_enable=1" in line
