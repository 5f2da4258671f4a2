# SPDX-License-Identifier: BSD-2-Clause
"""The installed unit under a real systemd: started, reloaded, watched and stopped, with all of its hardening.

    systemd is the first process of namespaces of its own (PIDs, mounts, cgroups) in a VM, whose files are forgotten with
    it. Never on a host: a boot empties /tmp and sets what is the whole kernel's. The network is the bed's:

        host: va (uplink) ── veth ── peer        kern: tap0, as the unit's configuration says

A boot takes long: all tests here share one systemd.
"""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from documents import Shell, blocks
from load import answers
from xbridge import IN_VM, PATIENCE, ROOT, STOP_S, TAP_IP, binary, wait_for

pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IN_VM, reason="a systemd that boots would change this host: in VMs")]

PREFIX = "/usr/local"
UNIT = "xbridge@tap0.service"
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
TREE = os.path.realpath(ROOT)
BUILD = os.path.realpath(os.path.join(os.path.dirname(binary()), "..", ".."))
CAPABILITIES = sum(1 << bit for bit in (8, 12, 13, 14, 21, 24, 38, 39))  # of the unit's CapabilityBoundingSet=

# The first process's namespaces, before it is systemd: BUILD TREE. The journal is all that it needs of a boot.
BOOT = r"""
set -e
[ -e /run/xb-vm/guest ] # in a VM of tests/vm/run, and nowhere else
mount -t tmpfs tmpfs /mnt
mkdir /mnt/tree /mnt/run /mnt/run/netns
mount --rbind "$2" /mnt/tree
mount --rbind /run/netns /mnt/run/netns
mount --rbind /mnt/run /run
for dir in /tmp /var/tmp /var/log /usr/local /etc/systemd/system /etc/xbridge; do
    mkdir -p $dir
    mount -t tmpfs -o mode=755 tmpfs $dir
done
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mkdir -p "$2" # which may have been below /tmp
mount --rbind /mnt/tree "$2"
mkdir -p "$2/build/release"
mount --bind "$1" "$2/build/release"
cd /etc/systemd/system
printf '[Unit]\nAllowIsolate=yes\nWants=systemd-journald.service\n' >bed.target
for unit in udevd udev-trigger tmpfiles-setup tmpfiles-setup-dev binfmt modules-load sysctl random-seed; do
    ln -s /dev/null systemd-$unit.service
done
ln -s /dev/null kmod-static-nodes.service
ln -s /dev/null proc-sys-fs-binfmt_misc.automount
export container=xb-test
exec /lib/systemd/systemd --system --unit=bed.target --log-target=journal-or-kmsg --log-level=info --show-status=no
"""


class Systemd:
    """A systemd on the bed's network."""

    def __init__(self, bed):
        assert IN_VM
        self.bed = bed
        namespaces = ["unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--propagation", "private"]
        command = ["nsenter", f"--net={bed.host.path}", *namespaces, "bash", "-c", BOOT, "bash", BUILD, TREE]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=bed.env)
        wait_for(lambda: self.run("systemctl", "is-active", "bed.target", check=False) == "active\n", "systemd is up", 20)

    def pid(self):
        """Of its first process, as seen from here."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            children = file.read().split()
        return int(children[0]) if children else None

    def words(self):
        """Before a command that is to run beside it."""
        return ["nsenter", "--target", str(self.pid()), "--mount", "--pid", "--net", "--cgroup"]

    def run(self, *command, check=True, text=None):
        """A command beside it; its output."""
        assert self.process.poll() is None, "systemd has ended"
        if not self.pid():
            return ""
        done = subprocess.run([*self.words(), *command], capture_output=True, text=True, check=False, input=text,
                              env=self.bed.env)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.log()}"
        return done.stdout

    def log(self):
        """What the unit has said so far, and what systemd has said of it."""
        self.run("journalctl", "--sync", check=False)
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT, check=False)

    def write(self, path, text):
        self.run("mkdir", "-p", os.path.dirname(path))
        self.run("tee", path, text=text)

    def systemctl(self, *words):
        return self.run("systemctl", *words)

    def shows(self, *names):
        """Properties of the unit."""
        said = self.systemctl("show", UNIT, *[f"--property={name}" for name in names])
        shown = dict(line.split("=", 1) for line in said.splitlines())
        return shown[names[0]] if len(names) == 1 else shown

    def ask(self, *words):
        return json.loads(self.run(f"{PREFIX}/sbin/xbridge", *words, "--json", "--name", "tap0"))

    def processes(self):
        """Those of the unit: name → what the kernel says of it (/proc/PID/status)."""
        found = {}
        for pid in self.run("cat", f"/sys/fs/cgroup{self.shows('ControlGroup')}/cgroup.procs").split():
            if pid != "0":  # up to Linux 6.3 vhost-net's thread, which is the kernel's and has no number in here
                status = dict(re.findall(r"^(\w+):\s*(.*)$", self.run("cat", f"/proc/{pid}/status"), re.MULTILINE))
                found[status["Name"]] = status
        return found

    def close(self):
        if self.pid():
            os.kill(self.pid(), signal.SIGKILL)  # `unshare` ends when all that was beside it has
        self.process.wait()


@pytest.fixture(scope="module")
def bare(make_module_bed):
    """A systemd on a host that knows nothing of xbridge."""
    systemd = Systemd(make_module_bed())
    yield systemd
    systemd.close()


# ---- README ----

def type_commands(shell, place, commands):
    """Each has to succeed; what the last one says."""
    for line in commands:
        done = shell.type(line)
        assert done.status == 0, f"{place}: {line}: {done}"
    return done.output


def test_what_readme_says_about_installing_works_as_it_stands(bare):
    """But for its first line, which builds: what is installed is the build under test."""
    (install,), (uninstall,) = (blocks("README.md", f"sh {word}") for word in ("install", "uninstall"))
    build, *commands = install.commands
    assert build == "cmake --preset release && cmake --build build/release"
    with open(os.path.join(TREE, "CMakePresets.json")) as file:
        presets = {preset["name"]: preset for preset in json.load(file)["configurePresets"]}
    assert presets["base"]["binaryDir"] == "${sourceDir}/build/${presetName}" and presets["release"]["inherits"] == "base"
    bare.write("/run/editor", f"#!/bin/sh\nprintf 'uplink va\\nnetns {bare.bed.kern.name}\\n' >>\"$1\"\n")
    bare.run("chmod", "+x", "/run/editor")
    with Shell(bare.words()) as shell:
        shell.type(f"cd {TREE}; export EDITOR=/run/editor SYSTEMD_PAGER=cat")
        assert "active (running)" in type_commands(shell, install.place, commands)
        bare.bed.address_tap()
        assert answers(bare.bed.peer, TAP_IP)
        type_commands(shell, uninstall.place, uninstall.commands)
        assert shell.type("systemctl status xbridge@tap0").status == 4, "there is no such unit"
    assert not bare.bed.kern.link("tap0")
    assert not bare.run("find", PREFIX, "-type", "f") and bare.run("ls", "/etc/xbridge") == "tap0.conf\n"


# ---- the unit ----

@pytest.fixture
def systemd(bare):
    """It has xbridge installed, and its configuration."""
    if not bare.run("find", PREFIX, "-name", "xbridge@.service"):
        bare.run("cmake", "--install", BUILD, "--prefix", PREFIX)
    bare.write("/etc/xbridge/tap0.conf", f"uplink va,dedicated\nnetns {bare.bed.kern.name}\nrule proto icmp to kernel\n")
    bare.systemctl("daemon-reload")
    yield bare
    bare.systemctl("stop", UNIT)
    bare.run("rm", "-rf", DROP_INS)


def start(systemd):
    systemd.systemctl("start", UNIT)  # which returns when it is ready
    assert systemd.shows("ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    systemd.bed.address_tap()


def test_the_unit_starts_carries_traffic_and_leaves_nothing(systemd):
    bed = systemd.bed
    start(systemd)
    assert answers(bed.peer, TAP_IP)
    assert set(systemd.processes()) == {"xbridge", "xb-doorman", "xb-reader"}
    assert systemd.run("ls", "/sys/fs/bpf/xbridge").split() == ["tap0"]
    before = systemd.log()
    began = time.monotonic()
    systemd.systemctl("stop", UNIT)
    assert time.monotonic() - began < STOP_S + 1 * PATIENCE  # systemd has its own part in it
    assert systemd.shows("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    said = systemd.log().removeprefix(before)
    assert "Stopped xbridge@tap0" in said and "Killing" not in said
    assert not bed.kern.link("tap0") and "xdp" not in bed.host.link("va")
    assert not systemd.run("find", "/sys/fs/bpf/xbridge", "/run/xbridge", "-mindepth", "1", check=False)


def test_a_reload_of_the_unit_applies_its_file(systemd):
    bed = systemd.bed
    start(systemd)
    text = f"uplink va,dedicated\nnetns {bed.kern.name}\nrule proto icmp to kernel\nrule proto tcp dport 179 to kernel\n"
    systemd.write("/etc/xbridge/tap0.conf", text)
    systemd.systemctl("reload", UNIT)
    wait_for(lambda: [rule["rule"] for rule in systemd.ask("steer", "list")["rules"]]
             == ["proto icmp to kernel", "proto tcp dport 179 to kernel"], "the file's rules hold")
    assert answers(bed.peer, TAP_IP)


def test_the_unit_is_confined_as_it_says(systemd):
    """By what the kernel says of its processes, and by what they see of the host's files."""
    before = systemd.log()
    start(systemd)
    for name, status in systemd.processes().items():
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", (name, status)
        assert not int(status["CapBnd"], 16) & ~CAPABILITIES and int(status["CapAmb"], 16) == 0, (name, status)
        assert int(status["Seccomp_filters"]) > 1, (name, status)  # systemd's, and ours
    proc = f"/proc/{systemd.shows('MainPID')}"
    flags = {line.split()[4]: line.split()[5].split(",") for line in systemd.run("cat", f"{proc}/mountinfo").splitlines()}
    assert "ro" in flags["/"] and "ro" in flags["/usr/local"] and "ro" in flags["/sys/fs/cgroup"], flags
    assert "rw" in flags["/run/xbridge"] and "rw" in flags["/sys/fs/bpf"], flags
    assert not systemd.run("ls", f"{proc}/root/root", check=False) and "/tmp" in flags
    # nothing that it does is refused meanwhile, by either filter
    said = systemd.log().removeprefix(before)
    assert "ready: tap0, 1 worker" in said
    assert "was refused by the filter" not in said and "Operation not permitted" not in said, said


def test_one_that_hangs_is_started_again_by_the_watchdog(systemd):
    bed = systemd.bed
    systemd.write(f"{DROP_INS}/soon.conf", "[Service]\nWatchdogSec=5\nTimeoutAbortSec=1\nRestartSec=0\n")
    systemd.systemctl("daemon-reload")
    start(systemd)
    first = systemd.shows("MainPID")
    systemd.run("kill", f"-{signal.SIGSTOP.value}", first)
    wait_for(lambda: systemd.shows("NRestarts") == "1" and systemd.shows("ActiveState") == "active", "it runs again", 20)
    assert systemd.shows("MainPID") != first and "Watchdog timeout" in systemd.log()
    bed.address_tap()
    wait_for(lambda: answers(bed.peer, TAP_IP), "traffic flows again")
