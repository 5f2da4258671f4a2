#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""`xbridge doctor` says what stands in the way, and changes nothing.

    a network and mount namespace of the test's own
    ┌───────────────────────────────────────────────┐
    │  up0 ◄── veth ──► peer0                       │
    │  bpffs at /sys/fs/bpf, tmpfs at /run          │
    └───────────────────────────────────────────────┘

A process holds the namespaces, so that all of it is gone with that process. The program under test is
$XBRIDGE, else the newest build/*/src/cli/xbridge.
"""

import glob
import json
import os
import re
import socket
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]

HOLDER = """
mount -t sysfs sysfs /sys &&
mount -t bpf bpf /sys/fs/bpf &&
mount -t tmpfs tmpfs /run &&
ip link set lo up &&
ip link add up0 type veth peer name peer0 &&
ip link set up0 up && ip link set peer0 up &&
echo ready && exec cat
"""

# What another program, or an earlier run, would do with XDP: attach one that passes everything.
XDP = """
import ctypes, os, socket, sys
bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
code = (ctypes.c_uint64 * 2)(0x00000002000000b7, 0x95)  # r0 = XDP_PASS; exit
fd = bpf.bpf_prog_load(6, b"foreign", b"GPL", code, ctypes.c_size_t(2), None)
assert fd >= 0, os.strerror(ctypes.get_errno())
ifindex = socket.if_nametoindex(sys.argv[1])
if len(sys.argv) == 2:
    assert bpf.bpf_xdp_attach(ifindex, fd, 0, None) == 0
else:
    os.makedirs(os.path.dirname(sys.argv[2]))
    link = bpf.bpf_link_create(fd, ifindex, 37, None)  # BPF_XDP
    assert link >= 0, os.strerror(ctypes.get_errno())
    assert bpf.bpf_obj_pin(link, sys.argv[2].encode()) == 0
"""

LISTENER = """
import os, socket, sys
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
sys.stdin.read()
"""


# Runs a command under a seccomp filter that refuses one system call, if it has this first argument (-1: any).
REFUSE = """
import ctypes, os, struct, sys
call, first = int(sys.argv[1]), int(sys.argv[2])
ops = [(0x20, 0, 0, 0), (0x15, 0, 3 if first >= 0 else 1, call)]
ops += [(0x20, 0, 0, 16), (0x15, 0, 1, first)] if first >= 0 else []
ops += [(0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in ops))
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(ops), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(22, 2, prog) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execvp(sys.argv[3], sys.argv[3:])
"""
SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
IO_URING_SETUP = 425
AF_XDP = 44

KERNEL = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
GENERIC_REMEDY = ("nothing to do (xdp=auto chooses it); faster: an interface whose driver has it, or for a VLAN, bridge or "
                  "bond the NIC below")

# A C library's ioctl under which a feature of each interface is on. No interface that can be made here joins frames.
FEATURE_ON = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <string.h>

int ioctl(int fd, unsigned long request, ...)
{
	static unsigned place;
	int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	va_list args;
	va_start(args, request);
	void *arg = va_arg(args, void *);
	va_end(args);
	int ret = real(fd, request, arg);
	void *data = request == SIOCETHTOOL ? ((struct ifreq *)arg)->ifr_data : NULL;
	unsigned command = data ? *(unsigned *)data : 0;

#ifdef RXVLAN
	if (command == ETHTOOL_GFLAGS)
		((struct ethtool_value *)data)->data |= ETH_FLAG_RXVLAN;
#endif
	if (command == ETHTOOL_GSTRINGS) {
		struct ethtool_gstrings *names = data;
		for (place = 0; strcmp((char *)names->data + place * ETH_GSTRING_LEN, FEATURE); place++)
			;
	} else if (command == ETHTOOL_GFEATURES) {
		struct ethtool_get_features_block *block = &((struct ethtool_gfeatures *)data)->features[place / 32];
		block->active |= 1u << place % 32;
		block->available = FIXED ? 0 : block->available | 1u << place % 32;
		block->never_changed &= ~(1u << place % 32);
	}
	return ret;
}
"""


def program():
    built = glob.glob(os.path.join(ROOT, "build", "*", "src", "cli", "xbridge"))
    path = os.environ.get("XBRIDGE") or max(built, key=os.path.getmtime, default=None)
    assert path, "no xbridge: build it, or say where it is ($XBRIDGE)"
    return os.path.abspath(path)


class Answer:
    """What doctor has said: its exit status and its findings by check."""

    def __init__(self, done):
        self.status = done.returncode
        assert self.status in (0, 1), done.stderr
        self.document = json.loads(done.stdout)
        self.findings = self.document["findings"]

    def of(self, check):
        return [finding for finding in self.findings if finding["check"] == check]

    def one(self, check):
        (finding,) = self.of(check)
        return finding

    def states(self, check):
        return [finding["state"] for finding in self.of(check)]


class Host:
    """Namespaces of our own, with a veth pair."""

    def __init__(self):
        self.children = []
        self.holder = self.start(["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", HOLDER])
        self.enter = ["nsenter", "--target", str(self.holder.pid), "--net", "--mount"]

    def start(self, command):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        assert child.stdout.readline() == "ready\n"
        return child

    def close(self):
        for child in reversed(self.children):
            child.stdin.close()
            child.wait()
            child.stdout.close()

    def run(self, *command, check=True):
        return subprocess.run([*self.enter, *command], check=check, capture_output=True, text=True)

    def python(self, script, *args):
        return self.run("/usr/bin/python3", "-c", script, *args)

    def listen(self, path):
        return self.start([*self.enter, "/usr/bin/python3", "-c", LISTENER, path])

    def stop(self, child):
        child.stdin.close()
        child.wait()

    def doctor(self, *args, wrapper=()):
        return Answer(self.run(*wrapper, program(), "doctor", *args, "--json", check=False))

    def doctor_text(self, *args):
        return self.run(program(), "doctor", *args, check=False).stdout


def feature_on(tmp_path, feature, fixed, *options):
    """Words before a program, which then sees a feature of each interface on; fixed: it can't be changed."""
    source, library = tmp_path / "on.c", tmp_path / "on.so"
    source.write_text(FEATURE_ON)
    subprocess.run(["cc", "-shared", "-fPIC", f'-DFEATURE="{feature}"', f"-DFIXED={int(fixed)}", *options, str(source), "-o",
                    str(library)], check=True)
    return ["env", f"LD_PRELOAD={library}", "ASAN_OPTIONS=verify_asan_link_order=0"]


@pytest.fixture
def host():
    assert os.geteuid() == 0, "these tests make namespaces: run them as root"
    it = Host()
    yield it
    it.close()


# ---- the answer as such ----


def test_each_finding_is_complete_and_all_but_ok_have_a_remedy(host):
    for args in [], ["up0"], ["no-such-if"]:
        for wrapper in [], NOBODY:
            answer = host.doctor(*args, wrapper=wrapper)
            assert list(answer.document) == ["findings"]
            for finding in answer.findings:
                assert list(finding) == ["check", "state", "text", "remedy"]
                assert finding["text"] and finding["state"] in ("ok", "note", "warn", "fail")
                assert bool(finding["remedy"]) == (finding["state"] != "ok"), finding


def test_text_and_json_say_the_same(host):
    lines, answer = host.doctor_text("up0").splitlines(), host.doctor("up0")
    for finding in answer.findings:
        if finding["check"] == "huge-pages":
            continue  # what is free there changes from one look to the next
        at = lines.index(f"{finding['state']:<4}  {finding['check']:<12}  {finding['text']}")
        if finding["remedy"]:
            assert lines[at + 1].strip() == "-> " + finding["remedy"]
    counts = [sum(line.startswith(f"{state:<4}  ") for line in lines) for state in ("ok", "note", "warn", "fail")]
    assert lines[-1] == "{} ok, {} note, {} warn, {} fail".format(*counts)


def test_it_leaves_nothing_behind(host):
    # (A child left behind would hold the output open, and keep us waiting for its end.)
    def everything():
        commands = [["find", "/sys/fs/bpf", "/run", "/dev/net"], ["cat", "/proc/self/mounts"]]
        links = host.run("ip", "-o", "-d", "link").stdout
        # a carrier is seen when the kernel gets to it
        return [re.sub(r"<\S*>| state \S+", "", links), *(host.run(*command).stdout for command in commands)]

    before = everything()
    host.doctor("up0")
    host.doctor()
    assert everything() == before


def test_without_any_privilege_it_says_what_was_not_looked_at(host):
    answer = host.doctor("up0", wrapper=NOBODY)
    assert "warn" in answer.states("capabilities")
    for check in "af_xdp", "bpf", "extensions":
        assert answer.one(check)["state"] == "note"
        assert "not tried" in answer.one(check)["text"]
    assert answer.one("interface")["state"] == "ok"
    assert answer.status == 0


# ---- the host ----


def test_a_host_that_can_do_it_has_no_failure(host):
    answer = host.doctor()
    assert answer.status == 0
    for check in "kernel", "tap", "af_xdp", "bpf", "leftovers":
        assert answer.states(check) == ["ok"], answer.of(check)
    assert "ip netns exec" in answer.one("bpffs")["text"]  # as is done here
    names = [finding["text"].split(":")[0] for finding in answer.of("interfaces")]
    assert sorted(names) == ["peer0", "up0"]


def test_vhost_net_is_judged_by_its_device(host):
    answer = host.doctor()
    if os.path.exists("/dev/vhost-net"):
        assert answer.one("vhost-net")["state"] == "ok"
        host.run("mount", "--bind", "/dev/null", "/dev/vhost-net")
        assert host.doctor().one("vhost-net")["state"] == "warn"
    else:
        assert answer.one("vhost-net")["state"] == "note"
        assert "modprobe vhost_net" in answer.one("vhost-net")["remedy"]
    assert answer.status == 0


def test_no_tun_device_is_a_failure(host):
    host.run("mount", "-t", "tmpfs", "tmpfs", "/dev/net")
    answer = host.doctor()
    assert answer.status == 1
    assert answer.one("tap")["state"] == "fail"
    assert "modprobe tun" in answer.one("tap")["remedy"]


def test_bpffs_that_is_not_mounted_is_named(host):
    host.run("umount", "/sys/fs/bpf")
    first = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]  # its mount namespace is that of process 1
    finding = host.doctor(wrapper=first).one("bpffs")
    assert finding["state"] == "note" and finding["remedy"] == "mount -t bpf bpf /sys/fs/bpf"
    assert host.doctor(wrapper=[*first, "setpriv", "--bounding-set=-sys_admin"]).one("bpffs")["state"] == "warn"


def test_bpffs_that_would_be_a_mount_namespace_s_own_is_warned_of(host):
    host.run("umount", "/sys/fs/bpf")
    finding = host.doctor().one("bpffs")
    assert finding["state"] == "warn" and "ip netns exec" in finding["text"]
    assert "nsenter --net=/run/netns/NAME" in finding["remedy"] and "--bpffs PATH" in finding["remedy"]
    assert "mount -t" not in finding["remedy"]


def test_extension_programs_are_judged_as_libxdp_finds_them(host):
    """Where it can't have them it loads a program without its dispatcher."""
    host.run("xdp-filter", "load", "up0")
    (link,) = json.loads(host.run("ip", "-j", "-d", "link", "show", "dev", "up0").stdout)
    works = link["xdp"]["prog"]["name"] == "xdp_dispatcher"
    finding = host.doctor().one("extensions")
    assert finding["state"] == ("ok" if works else "note")
    assert works == ("CONFIG_" not in finding["remedy"] and "policy" not in finding["remedy"])


def test_too_little_lockable_memory_is_named(host):
    narrow = ["prlimit", "--memlock=65536", "setpriv", "--bounding-set=-ipc_lock,-sys_resource"]
    finding = host.doctor(wrapper=narrow).one("memlock")
    assert finding["state"] == "warn"
    assert "64 KiB" in finding["text"]


HUGE_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"


def have_huge_pages(host, reserved, free):
    for name, count in ("nr", reserved), ("free", free):
        path = f"/run/{name}_hugepages"
        host.run("sh", "-c", f"echo {count} >{path} && mount --bind {path} {HUGE_PAGES}/{name}_hugepages")


def test_enough_huge_pages_are_found(host):
    have_huge_pages(host, 1000, 900)
    finding = host.doctor("up0").one("huge-pages")
    assert finding["state"] == "ok"
    assert "900 of 1000 huge pages free" in finding["text"]


def test_too_few_huge_pages_are_named_with_the_number_that_would_do(host):
    """What others use stays theirs: it is added."""
    have_huge_pages(host, 30, 10)
    finding = host.doctor("up0").one("huge-pages")
    assert finding["state"] == "note"
    needed = int(re.search(r"10 of 30 huge pages free, frames take about (\d+)", finding["text"])[1])
    assert finding["remedy"] == f"sysctl -w vm.nr_hugepages={20 + needed}"


def test_a_kernel_without_huge_pages_is_named(host):
    host.run("mount", "-t", "tmpfs", "tmpfs", "/sys/kernel/mm/hugepages")
    finding = host.doctor().one("huge-pages")
    assert finding["state"] == "note"
    assert "CONFIG_HUGETLBFS" in finding["remedy"]


def test_type_information_of_the_kernel_is_looked_for(host):
    assert host.doctor().one("btf")["state"] == "ok"
    host.run("mount", "-t", "tmpfs", "tmpfs", "/sys/kernel/btf")
    finding = host.doctor().one("btf")
    assert finding["state"] == "note"
    assert "CONFIG_DEBUG_INFO_BTF" in finding["remedy"]


CAPABILITIES = [("net_admin", "warn"), ("net_raw", "warn"), ("bpf", "warn"), ("sys_admin", "note"), ("ipc_lock", "note"),
                ("perfmon", "note")]


@pytest.mark.parametrize("capability, state", CAPABILITIES)
def test_each_capability_that_is_missing_is_named_with_what_it_is_for(host, capability, state):
    held, missing = host.doctor(wrapper=["setpriv", f"--bounding-set=-{capability}"]).of("capabilities")
    name = f"CAP_{capability.upper()}"
    others = [f"CAP_{other.upper()}" for other, _ in CAPABILITIES if other != capability]
    assert held["state"] == "ok" and held["text"] == "held here: " + " ".join(others)
    assert missing["state"] == state and missing["text"].startswith(f"{name} is not held here: ")
    assert missing["remedy"].endswith(f"AmbientCapabilities={name}")


def refusing(call, first=-1):
    return ["/usr/bin/python3", "-c", REFUSE, str(call), str(first)]


@pytest.mark.skipif(os.uname().machine not in SOCKET_CALL, reason="the number of socket is not known here")
def test_af_xdp_sockets_that_are_refused_are_a_failure(host):
    answer = host.doctor(wrapper=refusing(SOCKET_CALL[os.uname().machine], AF_XDP))
    finding = answer.one("af_xdp")
    assert finding["state"] == "fail" and "refused: Operation not permitted" in finding["text"]
    assert "seccomp" in finding["remedy"] and "RestrictAddressFamilies=" in finding["remedy"]
    assert answer.status == 1


def test_io_uring_that_is_refused_is_named(host):
    answer = host.doctor(wrapper=refusing(IO_URING_SETUP))
    finding = answer.one("io_uring")
    assert finding["state"] == "note" and "no io_uring (Operation not permitted)" in finding["text"]
    assert "seccomp" in finding["remedy"]
    assert answer.status == 0
    assert host.doctor().one("io_uring")["state"] == "ok"


# ---- what is left behind ----

PIN = "/sys/fs/bpf/xbridge/old/internal/link_0"
SOCKET = "/run/xbridge/old.sock"


def test_a_program_whose_daemon_is_gone_is_named(host):
    host.python(XDP, "up0", PIN)
    answer = host.doctor("up0")
    finding = answer.one("leftovers")
    assert finding["state"] == "warn"
    assert "'old'" in finding["text"] and "up0" in finding["text"]
    assert "xbridge detach up0" in finding["remedy"]
    assert answer.one("program")["state"] == "ok"  # the next start takes it over
    assert answer.status == 0


def test_a_program_whose_daemon_runs_is_no_leftover(host):
    host.python(XDP, "up0", PIN)
    host.listen(SOCKET)
    answer = host.doctor("up0")
    assert answer.states("leftovers") == ["ok"]
    assert answer.one("program")["state"] == "note"
    assert "which runs" in answer.one("program")["text"]


def test_a_link_whose_interface_is_gone_is_named(host):
    host.python(XDP, "up0", PIN)
    host.run("ip", "link", "del", "up0")
    finding = host.doctor().one("leftovers")
    assert finding["state"] == "note"
    assert "gone" in finding["text"]
    assert "/sys/fs/bpf/xbridge/old" in finding["remedy"]


def in_another_namespace(host, pin=PIN):
    """A program that is left on an interface of a network namespace with a name; returns words that enter that."""
    enter = ["nsenter", "--net=/run/netns/other"]
    host.run("ip", "netns", "add", "other")
    host.run("ip", "-n", "other", "link", "add", "up9", "type", "veth", "peer", "name", "peer9")
    host.run(*enter, "/usr/bin/python3", "-c", XDP, "up9", pin)
    return enter


def test_a_program_in_another_network_namespace_is_named_with_what_takes_it_off(host):
    enter = in_another_namespace(host)
    finding = host.doctor().one("leftovers")
    assert finding["state"] == "warn" and "on up9 in the network namespace other" in finding["text"]
    remedy = finding["remedy"].split(" removes it")[0].split()
    assert remedy == [*enter, "xbridge", "detach", "up9"]
    assert json.loads(host.run("ip", "-j", "link", "show", "dev", "up0").stdout), "doctor is back where it was"
    host.run(*enter, program(), *remedy[3:])
    assert "xdp" not in host.run("ip", "-n", "other", "link", "show", "dev", "up9").stdout
    assert host.doctor("up0").states("leftovers") == ["ok"]


def test_a_program_in_a_network_namespace_without_a_name_is_named(host):
    in_another_namespace(host)
    holder = host.start([*host.enter, "nsenter", "--net=/run/netns/other", "sh", "-c", "echo ready && exec cat"])
    host.run("ip", "netns", "del", "other")
    finding = host.doctor().one("leftovers")
    assert finding["state"] == "note" and "network namespace without a name" in finding["text"]
    assert "nsenter --net=/proc/PID/ns/net xbridge detach IFACE" in finding["remedy"]
    host.stop(holder)


def test_the_remedy_names_the_bpffs_that_was_looked_at(host):
    host.run("mkdir", "-p", "/run/bpf")
    host.run("mount", "-t", "bpf", "bpf", "/run/bpf")
    in_another_namespace(host, PIN.replace("/sys/fs/bpf", "/run/bpf"))
    finding = host.doctor("--bpffs", "/run/bpf").one("leftovers")
    assert "xbridge detach up9 --bpffs /run/bpf removes it" in finding["remedy"]


def test_maps_and_sockets_that_nobody_owns_are_named(host):
    host.run("mkdir", "-p", "/sys/fs/bpf/xbridge/tap0:5/internal")
    host.stop(host.listen("/run/xbridge/gone.sock"))
    findings = host.doctor().of("leftovers")
    assert [finding["state"] for finding in findings] == ["note", "note"]
    assert "'tap0.5'" in findings[0]["text"]
    assert findings[0]["remedy"] == "rm -r /sys/fs/bpf/xbridge/tap0:5"
    assert findings[1]["remedy"] == "rm /run/xbridge/gone.sock"


# ---- the interface ----


def test_an_interface_that_is_not_there_is_a_failure(host):
    answer = host.doctor("no-such-if")
    assert answer.status == 1
    assert answer.one("interface")["state"] == "fail"
    assert not answer.of("xdp")


def test_what_is_no_ethernet_is_a_failure(host):
    host.run("ip", "tuntap", "add", "ip0", "mode", "tun")
    answer = host.doctor("ip0")
    assert answer.status == 1
    assert "Ethernet" in answer.one("interface")["remedy"]


def test_down_and_without_carrier_are_told_apart(host):
    host.run("ip", "link", "set", "peer0", "down")
    assert "carrier" in host.doctor("up0").one("interface")["text"]
    host.run("ip", "link", "set", "up0", "down")
    finding = host.doctor("up0").one("interface")
    assert finding["state"] == "warn"
    assert finding["remedy"] == "ip link set dev up0 up"


def test_an_mtu_beyond_a_frame_is_named_with_the_largest_that_fits(host):
    host.run("ip", "link", "set", "up0", "mtu", "3818")
    assert host.doctor("up0").states("interface") == ["ok"]
    host.run("ip", "link", "set", "up0", "mtu", "3819")
    findings = host.doctor("up0").of("interface")
    assert [finding["state"] for finding in findings] == ["ok", "warn"]
    assert findings[1]["remedy"] == "ip link set dev up0 mtu 3818"


def test_native_xdp_is_told_from_generic(host):
    """Drivers say it since 6.3; before, some are known by their names."""
    finding = host.doctor("up0").one("xdp")
    assert finding["state"] == "ok"
    assert finding["text"].startswith("veth: native XDP, AF_XDP by copy")
    host.run("ip", "link", "add", "br0", "type", "bridge")
    finding = host.doctor("br0").one("xdp")
    assert finding["state"] == "note"
    told = (finding["text"], finding["remedy"])
    assert told == ("bridge has no native XDP: the generic mode works, slower", GENERIC_REMEDY) or KERNEL < (6, 3)
    assert told[0].startswith("not known what bridge can do") or KERNEL >= (6, 3)


def test_a_foreign_xdp_program_stands_in_the_way(host):
    assert host.doctor("up0").one("program")["state"] == "ok"
    host.python(XDP, "up0")
    answer = host.doctor("up0")
    assert answer.status == 1
    finding = answer.one("program")
    assert finding["state"] == "fail"
    assert "foreign" in finding["text"] and "native" in finding["text"]
    assert finding["remedy"].startswith("ip link set dev up0 xdp off")
    host.run("ip", "link", "set", "dev", "up0", "xdp", "off")
    assert host.doctor("up0").status == 0


def test_whose_program_it_is_is_left_open_without_the_right_to_look(host):
    host.python(XDP, "up0")
    answer = host.doctor("up0", wrapper=NOBODY)
    assert answer.one("program")["state"] == "warn"
    assert answer.status == 0


def test_a_peer_that_leaves_checksums_is_named(host):
    finding = host.doctor("up0").one("checksum")
    assert finding["state"] == "note"
    assert "csum=trust" in finding["text"] and "ethtool -K peer0 tx off" in finding["remedy"]
    assert "VXLAN" in finding["text"] and "not inside FOU, GUE, ERSPAN or NSH" in finding["text"]
    host.run("ethtool", "-K", "peer0", "tx", "off")
    assert host.doctor("up0").one("checksum")["state"] == "ok"


def test_what_stays_open_inside_tunnels_is_named_of_a_bridge_above_a_veth_too(host):
    host.run("ip", "link", "add", "br0", "type", "bridge")
    host.run("ip", "link", "set", "up0", "master", "br0")
    finding = host.doctor("br0").one("checksum")
    assert finding["state"] == "note" and "not inside FOU, GUE, ERSPAN or NSH" in finding["text"]
    assert "ethtool -K DEV tx off" in finding["remedy"]


def test_a_peer_that_keeps_vlan_tags_beside_the_frame_is_named(host):
    finding = host.doctor("up0").one("vlan")
    assert finding["state"] == "warn"
    assert finding["remedy"] == "ethtool -K peer0 txvlan off"
    host.run("ethtool", "-K", "peer0", "txvlan", "off")
    assert host.doctor("up0").one("vlan")["state"] == "ok"


@pytest.mark.parametrize("fixed", [False, True], ids=["", "fixed"])
def test_a_nic_that_takes_vlan_tags_off_is_named(host, tmp_path, fixed):
    host.run("ip", "tuntap", "add", "tap0", "mode", "tap")
    assert host.doctor("tap0").one("vlan")["state"] == "ok"
    finding = host.doctor("tap0", wrapper=feature_on(tmp_path, "rx-vlan-hw-parse", fixed, "-DRXVLAN")).one("vlan")
    assert finding["state"] == "warn"
    assert "taken off before XDP sees a frame, and are lost (rxvlan is on" in finding["text"]
    assert ("can't be changed" in finding["text"]) == fixed
    assert finding["remedy"].startswith("use tap0 for untagged traffic only" if fixed else "ethtool -K tap0 rxvlan off")


def test_of_a_peer_in_another_namespace_it_says_what_it_may_do(host):
    away = host.start([*host.enter, "unshare", "--net", "sh", "-c", "echo ready; exec cat"])
    host.run("ip", "link", "set", "peer0", "netns", str(away.pid))
    answer = host.doctor("up0")
    for check in "vlan", "checksum":
        assert answer.one(check)["state"] == "note"
        assert "PEER" in answer.one(check)["remedy"]


def test_frames_that_arrive_as_they_were_sent_are_told(host):
    assert host.doctor("up0").one("merging")["state"] == "ok"


@pytest.mark.parametrize("fixed", [False, True], ids=["", "fixed"])
@pytest.mark.parametrize("feature, title, remedy", [
    ("rx-lro", "LRO", "ethtool -K up0 lro off"), ("rx-gro-hw", "hardware GRO", "ethtool -K up0 rx-gro-hw off")])
def test_what_joins_frames_is_named(host, tmp_path, feature, title, remedy, fixed):
    finding = host.doctor("up0", wrapper=feature_on(tmp_path, feature, fixed)).one("merging")
    assert finding["state"] == "warn"
    assert finding["text"].startswith(f"{title} joins frames")
    assert finding["remedy"] == ("use another interface as the uplink" if fixed else remedy)


def test_queues_beyond_what_is_read_are_named(host):
    host.run("ip", "link", "add", "many0", "numrxqueues", "65", "numtxqueues", "65", "type", "veth")
    finding = host.doctor("many0").one("queues")
    assert finding["state"] == "warn"
    assert "65" in finding["text"]
    host.run("ip", "link", "add", "few0", "numrxqueues", "4", "numtxqueues", "2", "type", "veth")
    assert host.doctor("few0").one("queues")["state"] == "note"
    assert host.doctor("up0").one("queues")["state"] == "ok"


def test_that_it_would_be_shared_is_said_and_what_the_host_has_on_it(host):
    text = host.doctor("up0").one("sharing")["text"]
    assert text.startswith("shared unless --uplink up0,dedicated is given (no address but link-local ones)")
    host.run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
    text = host.doctor("up0").of("sharing")[0]["text"]
    assert text.startswith("shared unless") and "up0 has 192.0.2.1/24" in text


def test_that_a_shared_uplinks_stack_does_not_meet_the_ports_is_said(host):
    assert host.doctor("up0").states("sharing") == ["ok"]
    host.run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
    finding = host.doctor("up0").of("sharing")[1]
    assert finding["state"] == "note"
    assert "don't meet through it" in finding["text"]


def test_a_tap_that_answers_for_the_uplink_is_named(host):
    host.run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
    host.run("ip", "tuntap", "add", "tap0", "mode", "tap")
    host.run("ip", "link", "set", "tap0", "up")
    assert host.doctor("up0").one("segment")["state"] == "ok"  # no instance runs: not ours
    host.listen("/run/xbridge/tap0.sock")
    finding = host.doctor("up0").one("segment")
    assert finding["state"] == "warn"
    host.run(*finding["remedy"].split())
    finding = host.doctor("up0").one("segment")
    assert finding["state"] == "note"
    assert "--netns" in finding["remedy"]


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", *sys.argv[1:]]))
