# SPDX-License-Identifier: BSD-2-Clause
"""What needs a real systemd: what README.md says about installing.

    systemd is the first process of namespaces of its own (PIDs, mounts, cgroups) in a VM, whose files are forgotten with
    it. Never on a host: a boot empties /tmp and sets what is the whole kernel's. The network is the bed's:

        host: va (uplink) ── veth ── peer        kern: tap0

A boot takes long: all tests here share one systemd.
"""

import json
import os
import signal
import subprocess

import pytest

from documents import Shell, blocks
from load import answers
from xbridge import IN_VM, ROOT, TAP_IP, binary, wait_for

pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IN_VM, reason="a systemd that boots would change this host: in VMs")]

PREFIX = "/usr/local"
TREE = os.path.realpath(ROOT)
BUILD = os.path.realpath(os.path.join(os.path.dirname(binary()), "..", ".."))

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
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path, text):
        self.run("mkdir", "-p", os.path.dirname(path))
        self.run("tee", path, text=text)

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
