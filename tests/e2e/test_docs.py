# SPDX-License-Identifier: BSD-2-Clause
"""The commands of README.md and docs/*.md do what is said there, line by line, on real traffic, both ways.

    dataplane: tap0 ◄── xbridge ──► eth0 ◄── veth ──► vp :peer, 192.0.2.2
                                    192.0.2.100, in the namespace where the commands are typed

The host is one as people have it: its NIC has an address. What a page does not start itself runs already.
"""

import glob
import os
import pathlib
import re
import subprocess

import pytest

from documents import Shell, blocks
from load import answers
from xbridge import ROOT, TAP_IP, peer_ip, wait_for

PAGES = ["README.md", *sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs", "*.md")))]
ELSEWHERE = {"docs/recipes.md"}  # a test of its own runs these
TYPED_ELSEWHERE = {"sh dispatcher", "sh install", "sh uninstall"}  # what not every host has: test_beside.py, test_systemd.py
OWN_IP = "192.0.2.100"
ENDLESS = [(r"--watch", "in flight"), (r"capture.*-c 100", None), (r"capture.*tshark", r"ICMP|ARP"), (r"capture eth0 -w", "capturing"),
           (r"capture$", "verdict="), (r"capture --drops", "capturing")]


def test_shell_runs_lines_jobs_and_endless_commands():
    with Shell() as shell:
        assert shell.type("false").status == 1
        done = shell.type("echo one; echo two")
        assert (done.status, done.output) == (0, "one\ntwo\n")
        shell.type("sleep 100 &")
        assert re.search("Running +sleep 100", shell.type("jobs").output)
        # no loop of the shell's own: bash may end when ^C comes just as it takes the terminal back
        assert shell.type("sh -c 'while :; do echo tick; sleep 0.1; done'", until="tick\ntick").status == 130
        shell.type("kill %1")
        shell.type("wait")
        assert shell.type("jobs").output == ""


# In a mount namespace of its own: /etc as it is, but what is written there is seen by nobody else, and gone at the end.
OWN_ETC = ["sh", "-c", """
    mount -t tmpfs xb-etc /mnt && cp -a /etc/. /mnt && mkdir -p /mnt/xbridge && mount --bind /mnt /etc && umount /mnt && exec "$@"
    """, "sh"]


def configurations():
    """The files that this host itself has for xbridge, with what is in them."""
    return {path: (os.stat(path).st_mtime_ns, pathlib.Path(path).read_bytes()) for path in glob.glob("/etc/xbridge/*")}


class Host:
    """A host with a NIC that has an address, another that has none, and somebody at its keyboard."""

    def __init__(self, bed):
        self.bed = bed
        bed.host.ip("link set va down", "link set va name eth0", "link set eth0 up", f"addr add {OWN_IP}/24 dev eth0",
                    "link set vb down", "link set vb name eth1", "link set eth1 up")
        bed.uplinks = ["eth0"]
        bed.forgive_leftovers = True  # its instances have the names of the page; asserted below
        self.shell = Shell(bed.in_host(*OWN_ETC), cwd="/tmp", env=bed.env)
        self.dataplane = None  # where tap0 is
        self.runs = False
        self.pings = None

    def ns(self, *command):
        """Runs a command where tap0 is; a namespace that was made at the keyboard is to be seen only from there."""
        enter = ["nsenter", f"--target={self.shell.process.pid}", "--mount", "--net"]
        enter += ["ip", "netns", "exec", self.dataplane] if self.dataplane else []
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)

    def started(self, line):
        """An `xbridge run` is ready: where tap0 is now, and whose addresses it has."""
        self.runs = True
        match = re.search(r"--netns (\S+)", line)
        self.dataplane = match[1] if match else None
        self.bed.peer.ip("neigh flush dev vp")  # tap0 may have another MAC address than the one before

    def address(self):
        """Gives tap0 its address, if the page has not."""
        if TAP_IP not in self.ns("ip", "-4", "addr", "show", "dev", "tap0").stdout:
            self.ns("ip", "addr", "add", f"{TAP_IP}/24", "dev", "tap0")

    def check_traffic(self, place):
        """Both ways, through tap0; and the host's own address still answers, where it has one."""
        self.address()
        wait_for(lambda: answers(self.bed.peer, TAP_IP), f"{place}: the peer reaches tap0")
        # a page's own limit (`limit 50`) may drop one of so many pings
        wait_for(lambda: not self.ns("ping", "-n", "-c", "1", "-W", "1", "-I", "tap0", peer_ip()).returncode,
                 f"{place}: tap0 reaches the peer")
        if OWN_IP in self.bed.host.run("ip", "-4", "addr", "show", "dev", "eth0").stdout:
            assert answers(self.bed.peer, OWN_IP), f"{place}: the host keeps its address"

    def begin(self):
        if not self.runs:
            self.shell.type("ip netns add dataplane")
            self.type("xbridge run --uplink eth0 --netns dataplane &", "begin")

    def end(self):
        self.shell.type("kill %1")
        self.shell.type("wait; ip netns del dataplane 2>/dev/null")
        self.runs = False
        self.bed.host.ip(f"addr replace {OWN_IP}/24 dev eth0")

    def type(self, line, place):
        """A line as it stands; what it is said to do shows."""
        command = line.partition("#")[0].strip()
        if re.match(r"xbridge run\b", command):
            assert not self.runs or command.endswith("&")
            if command.endswith("&"):
                self.shell.type(line)
                self.shell.wait_for("xbridge: ready: ")
                self.started(command)
            else:
                self.shell.start(line, "xbridge: ready: ")
                self.started(command)
                self.check_traffic(place)
                assert self.shell.interrupt().status == 0, f"{place}: {line}"
                self.runs = False
            return
        if re.match(r"kill %1", command):
            self.shell.type(line)
            assert self.shell.type("wait %1").status == 0, f"{place}: {line}"
            self.runs = False
            return
        until = next((text for pattern, text in ENDLESS if re.search(pattern, command)), "")
        if until or until is None:
            with subprocess.Popen(["ip", "netns", "exec", self.bed.peer.name, "ping", "-n", "-i", "0.02", TAP_IP],
                                  stdout=subprocess.DEVNULL) as ping:
                done = self.shell.type(line, until=until)
                ping.kill()
            assert done.status in ((0, 2, 130) if until else (0,)), f"{place}: {line}: {done}"
            return
        done = self.shell.type(line)
        allowed = (0, 1) if command.startswith("xbridge doctor") and "fail" in done.output else (0,)
        assert done.status in allowed, f"{place}: {line}: {done}"

    def close(self):
        if self.runs:
            self.end()
        self.shell.type("ip netns del dataplane")
        self.shell.close()


@pytest.fixture
def host(make_bed):
    host = Host(make_bed(uplinks=2, tap_in_host=True))
    yield host
    host.close()


FILE = re.compile(r"^    # (/etc/xbridge/\S+)\n((?:    .*\n)+)", re.MULTILINE)


def files(page):
    """A block that begins with the path of a file in a comment is that file."""
    text = pathlib.Path(ROOT, page).read_text(encoding="utf-8")
    return {path: re.sub("^    ", "", lines, flags=re.MULTILINE) for path, lines in FILE.findall(text)}


def write_files(host, page):
    """Where the shell has its /etc."""
    for path, text in files(page).items():
        pathlib.Path(f"/proc/{host.shell.process.pid}/root{path}").write_text(text, encoding="utf-8")


def test_what_is_written_for_a_page_is_not_the_hosts(host):
    before, page = configurations(), next(page for page in PAGES if files(page))
    write_files(host, page)
    for path, text in files(page).items():
        assert host.shell.type(f"cat {path}").output.strip() == text.strip()
    assert configurations() == before


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE and blocks(page)])
def test_commands_of_a_page_work_as_they_stand(host, page):
    write_files(host, page)
    for block in blocks(page):
        starts = any(re.match(r"xbridge run\b", line) for line in block.commands)
        if starts and host.runs:
            host.end()
        if not starts:
            host.begin()
        if any(",dedicated" in line or "--config" in line for line in block.commands):
            host.bed.host.ip("addr flush dev eth0")  # the page speaks of a NIC of its own, without an address
        if starts:
            host.shell.type("ip netns del dataplane")
        if starts and not any("netns add" in line for line in block.commands):
            host.shell.type("ip netns add dataplane")
        for i, line in enumerate(block.commands):
            host.type(line, block.place)
            if host.runs and not any(" addr add " in later for later in block.commands[i + 1:]):
                host.check_traffic(f"{block.place}: after `{line}`")
        if not host.runs:
            host.shell.type("ip link del tap0")  # which may be one that persists
            host.bed.host.ip(f"addr replace {OWN_IP}/24 dev eth0")


@pytest.mark.parametrize("page", PAGES)
def test_command_of_xbridge_is_in_a_block_that_a_test_runs_or_an_output(page):
    """Nobody adds an example that nothing runs: an indented line is no command but where it can't be run here."""
    with open(os.path.join(ROOT, page)) as file:
        text = file.read()
    indented = re.findall(r"^    ((?:xbridge|ip) .*)", text, re.MULTILINE)
    known = {"docs/steering.md"}  # test_steering.py does what it says
    assert page in known or not [line for line in indented if "--vhost-net" not in line], indented
    assert {*re.findall(r"^```(sh .*)", text, re.MULTILINE)} <= TYPED_ELSEWHERE
