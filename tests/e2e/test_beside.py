# SPDX-License-Identifier: BSD-2-Clause
"""Beside other XDP programs: xdp-filter and other users of libxdp on the same interface, and what can't be shared.

    kern: tap0 ◄── xbridge ──► va :host     va: dispatcher ──┬── xdp-filter     no UDP to port 6
                                ▲                            └── xbridge's      no UDP to port 7
                                └── veth ──► vp :peer

A kernel that refuses extension programs has no dispatchers: most of this runs in VMs then.
"""

import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import threading

import pytest

from documents import blocks
from pins import rule_hits
from test_docs import Host
from traffic import Wire, ether
from xbridge import PATIENCE, PIN_ROOT, binary, difference, wait_for

FILTERED, DROPPED, FREE = 6, 7, 9  # UDP ports: of xdp-filter, of our rule, of nobody
GUEST = "02:00:00:00:66:99"
DISPATCHERS = "/sys/fs/bpf/xdp/dispatch-*"
PASS = '__attribute__((section("xdp"))) int pass(void *ctx) { return 2; }\n'


@pytest.fixture(scope="module")
def extensions():
    done = subprocess.run([binary(), "doctor", "--json"], capture_output=True, text=True, check=False)
    (finding,) = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "extensions"]
    if finding["state"] != "ok":
        pytest.skip(finding["text"])


@pytest.fixture
def bed(make_bed):
    bed = make_bed(quiet=True)
    yield bed
    # what a test that failed has left of others
    subprocess.run(bed.in_host("xdp-loader", "unload", "va", "--all"), capture_output=True, check=False)


@pytest.fixture
def shared(extensions, bed):
    """A bed whose kernel has dispatchers, and that leaves none behind."""
    yield bed
    assert any(daemon.running() for daemon in bed.daemons) or not glob.glob(DISPATCHERS)


def tool(bed, *command, check=True):
    done = subprocess.run(bed.in_host(*command), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def load_filter(bed, ifname="va"):
    tool(bed, "xdp-filter", "load", ifname, "-f", "udp")
    tool(bed, "xdp-filter", "port", str(FILTERED), "-p", "udp", "-m", "dst")


def unload_filter(bed):
    tool(bed, "xdp-filter", "unload", "va")


def start(bed, *options, **how):
    return bed.start("--default", "kernel", "--rule", f"proto udp dport {DROPPED} to drop", *options, **how)


def udp(dport, payload):
    length = 8 + len(payload)
    ip = bytes([0x45, 0]) + (20 + length).to_bytes(2, "big") + bytes(4) + bytes([64, 17, 0, 0]) + \
        bytes([198, 51, 100, 1, 198, 51, 100, 2])
    return ether(GUEST, "02:00:00:00:66:01",
                 ip + (1000).to_bytes(2, "big") + dport.to_bytes(2, "big") + length.to_bytes(2, "big") + bytes(2) + payload,
                 ethertype=0x0800)


def blocked(bed, where):
    """Of the three ports those whose frames don't arrive: where is "kernel", or "stack": the uplink's own."""
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Wire(bed.peer, "vp"))
        end = stack.enter_context(Wire(*(bed.kern, "tap0") if where == "kernel" else (bed.host, "va")))
        for port in FILTERED, DROPPED, FREE:  # the last says that the others had their time
            wire.send(udp(port, b"to port %d." % port + bytes(20)))
        seen = []
        while b"to port %d." % FREE not in (seen[-1] if seen else b""):
            seen.append(end.recv())
        return {port for port in (FILTERED, DROPPED, FREE) if not any(b"to port %d." % port in data for data in seen)}


def order(bed, ifname="va"):
    """Names of the programs behind an interface's dispatcher, as libxdp's own tool lists them."""
    return re.findall(r"=>\s+\d+\s+(\w+)", tool(bed, "xdp-loader", "status", ifname).stdout)


def is_ours(name):
    return name.startswith("steer")


def programs(bed):
    return ["xbridge" if is_ours(name) else "filter" for name in order(bed)]


def ours_alone(bed):
    """Whether the program on the uplink is ours, by a link."""
    link = bed.host.link("va")
    return "xdp" in link and is_ours(link["xdp"]["prog"]["name"])


# ---- before us, after us ----

EVERY_DAY, LONG = pytest.mark.vm, pytest.mark.kernels


@pytest.mark.parametrize("first, goes", [pytest.param("filter", "filter", marks=EVERY_DAY),
                                         pytest.param("xbridge", "xbridge", marks=EVERY_DAY),
                                         pytest.param("filter", "xbridge", marks=LONG),
                                         pytest.param("xbridge", "filter", marks=LONG)])
def test_both_act_whoever_came_first_and_the_other_goes_on_when_one_goes(shared, first, goes):
    bed = shared
    if first == "filter":
        load_filter(bed)
    daemon = start(bed)
    if first == "xbridge":
        load_filter(bed)
    assert daemon.port("va")["attached"] == "dispatcher" and daemon.port("va")["xdp"] == "native"
    assert programs(bed) == ["filter", "xbridge"]
    before = daemon.stats()["ports"]["va"]["xdp"]
    assert blocked(bed, "kernel") == {FILTERED, DROPPED}
    change = difference(daemon.rest()["ports"]["va"]["xdp"], before)
    assert (change["drop"], change["redirect"]) == (1, 1), "xdp-filter sees frames before us"
    if goes == "filter":
        unload_filter(bed)
        assert blocked(bed, "kernel") == {DROPPED}
        assert programs(bed) == ["xbridge"]
        daemon.stop()
    else:
        daemon.stop()
        assert programs(bed) == ["filter"]
        assert blocked(bed, "stack") == {FILTERED}
        unload_filter(bed)
    assert "has lost its XDP program" not in daemon.text()
    assert "xdp" not in bed.host.link("va")
    assert not glob.glob(DISPATCHERS)


@pytest.mark.kernels
def test_alone_it_is_behind_a_dispatcher_and_leaves_none(shared):
    daemon = start(shared)
    assert programs(shared) == ["xbridge"]
    assert re.search("XDP native by dispatcher", daemon.text())
    daemon.stop()
    assert "xdp" not in shared.host.link("va")
    assert not glob.glob(DISPATCHERS)


@pytest.mark.kernels
def test_generic_mode_joins_generic_programs_and_native_is_refused_there(shared):
    bed = shared
    tool(bed, "xdp-filter", "load", "va", "-f", "udp", "-m", "skb")
    daemon = bed.start("--default", "kernel", uplinks=["va,dedicated,xdp=native"], ready=False)
    assert daemon.wait_exit() == 1
    assert "other XDP programs run there in generic mode" in daemon.log[-1] and "xdp=auto" in daemon.log[-1]
    daemon = start(bed)
    assert (daemon.port("va")["attached"], daemon.port("va")["xdp"]) == ("dispatcher", "generic")
    assert programs(bed) == ["filter", "xbridge"]
    daemon.stop()
    assert programs(bed) == ["filter"]
    unload_filter(bed)


@pytest.mark.kernels
def test_two_uplinks_have_a_dispatcher_each(extensions, make_bed):
    bed = make_bed(uplinks=2, quiet=True)
    load_filter(bed, "vb")
    daemon = start(bed)
    assert [daemon.port(name)["attached"] for name in ("va", "vb")] == ["dispatcher", "dispatcher"]
    assert len(order(bed, "va")) == 1 and len(order(bed, "vb")) == 2
    daemon.stop()
    assert "xdp" not in bed.host.link("va")
    assert len(order(bed, "vb")) == 1
    tool(bed, "xdp-filter", "unload", "vb")
    assert not glob.glob(DISPATCHERS)


# ---- death, and what comes after it ----

class Leaks:
    """Sends frames that a rule drops (or another one's) without a pause, and sees whether one gets through."""

    def __init__(self, bed, port=DROPPED):
        self.bed, self.port, self.done, self.sent = bed, port, threading.Event(), 0

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.wire = self.stack.enter_context(Wire(self.bed.peer, "vp"))
        self.end = self.stack.enter_context(Wire(self.bed.host, "va"))
        self.thread = threading.Thread(target=self._send)
        self.thread.start()
        return self

    def _send(self):
        while not self.done.is_set():
            self.wire.send(udp(self.port, b"leak" + bytes(20)))
            self.sent += 1
            self.done.wait(0.0002)

    def found(self):
        return [data for data in self.end.drain() if b"leak" in data]

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.stack.close()


@pytest.mark.parametrize("beside", [pytest.param(True, marks=EVERY_DAY), pytest.param(False, marks=LONG)])
def test_a_drop_rule_holds_from_one_daemon_to_the_next(shared, beside):
    bed = shared
    if beside:
        load_filter(bed)
    daemon = start(bed)
    daemon.kill()
    daemon.wait_exit()
    mine = {DROPPED}
    theirs = {FILTERED} if beside else set()
    assert blocked(bed, "stack") == mine | theirs, "what it would have taken passes"
    with Leaks(bed) as leaks:
        daemon = start(bed)
        wait_for(lambda: leaks.sent > 100, "frames are sent")
        assert not leaks.found()
    assert daemon.wait_log("took over the maps of an earlier run")
    assert blocked(bed, "kernel") == mine | theirs
    assert programs(bed) == (["filter"] if beside else []) + ["xbridge"]
    daemon.stop()
    if beside:
        unload_filter(bed)
    assert not glob.glob(DISPATCHERS)


@pytest.mark.vm
def test_each_frame_is_counted_once_while_one_program_follows_another(shared):
    bed = shared
    rule = ["--rule", f"proto udp dport {FREE} to pass"]
    daemon = bed.start(*rule)
    with Leaks(bed, FREE) as stream:
        for _ in range(2):  # a slot of the first is not used again by the third
            daemon.kill()
            daemon.wait_exit()
            daemon = bed.start(*rule)
        sent = stream.sent
        wait_for(lambda: stream.sent > sent + 100, "frames are sent")
    counted = sum(stats["packets"] for stats in rule_hits(bed).values())
    assert 0 <= counted - stream.sent <= 2  # one may be between the two programs each time


@pytest.mark.kernels
def test_detach_leaves_the_others(shared):
    bed = shared
    daemon = start(bed)
    load_filter(bed)
    daemon.kill()
    daemon.wait_exit()
    daemon.cli("detach", "va", named=False)
    assert programs(bed) == ["filter"]
    assert blocked(bed, "stack") == {FILTERED}
    assert not glob.glob(f"{PIN_ROOT}/{bed.name}*")
    assert daemon.cli("detach", "va", named=False, check=False).returncode == 1
    unload_filter(bed)
    bed.forgive_leftovers = True  # its socket and lock: no program of ours knows that it is dead


@pytest.mark.kernels
def test_a_dispatcher_that_somebody_who_was_killed_had_half_made_goes(shared):
    bed = shared
    daemon = start(bed)
    load_filter(bed)
    (real,) = glob.glob(DISPATCHERS)
    half = re.sub(r"\d+$", "4294967295", real)
    os.mkdir(half)
    for place in 0, 1:
        os.link(f"{real}/prog{place}-prog", f"{half}/prog{place}-prog")
    daemon.kill()
    daemon.wait_exit()
    daemon = start(bed)
    assert not os.path.exists(half) and len(glob.glob(DISPATCHERS)) == 1
    assert programs(bed) == ["filter", "xbridge"]
    daemon.stop()
    unload_filter(bed)


@pytest.mark.kernels
def test_pins_of_an_interface_that_never_comes_back_go_at_the_end(shared):
    daemon = start(shared)
    shared.host.ip("link del va")
    daemon.wait_log("uplink va is gone")
    daemon.stop()
    assert not glob.glob(DISPATCHERS)


@pytest.mark.kernels
@pytest.mark.parametrize("how", [["xdp-loader", "unload", "va", "--all"], ["ip", "link", "set", "dev", "va", "xdp", "off"]],
                         ids=["xdp-loader", "ip"])
def test_a_dispatcher_that_somebody_takes_off_is_made_again(shared, how):
    bed = shared
    daemon = start(bed)
    for _ in range(2):
        since = len(daemon.log)
        tool(bed, *how)
        daemon.wait_log("uplink va has lost its XDP program", since=since)
        daemon.wait_log("uplink va is back", since=since)
    assert blocked(bed, "kernel") == {DROPPED}
    assert len(glob.glob(DISPATCHERS)) == 1
    daemon.stop()
    assert not glob.glob(DISPATCHERS)


@pytest.mark.kernels
def test_an_interface_that_is_made_again_is_joined_beside_what_is_there_by_then(shared):
    bed = shared
    daemon = start(bed)
    bed.host.ip("link del va")
    daemon.wait_log("uplink va is gone")
    bed.host.ip(f"link add vx numrxqueues 1 numtxqueues 1 type veth peer name vp numrxqueues 1 numtxqueues 1 "
                f"netns {bed.peer.name}")
    bed.peer.ip("link set vp up")
    load_filter(bed, "vx")
    bed.host.ip("link set vx name va", "link set va up")
    daemon.wait_log("uplink va is back")
    wait_for(lambda: bed.host.link("va")["operstate"] == "UP", "the link is up")
    assert programs(bed) == ["filter", "xbridge"]
    assert blocked(bed, "kernel") == {FILTERED, DROPPED}
    daemon.stop()
    assert programs(bed) == ["filter"]
    tool(bed, "xdp-loader", "unload", "va", "--all")  # xdp-filter knows vx only


@pytest.mark.kernels
def test_an_uplink_that_moves_to_another_namespace_takes_no_program_of_ours_along(shared):
    bed = shared
    daemon = start(bed)
    bed.host.ip(f"link set va netns {bed.kern.name}")
    daemon.wait_log("uplink va is gone")
    bed.peer.ip("link set vp down", "link set vp name old")
    bed.host.ip(f"link add va numrxqueues 1 numtxqueues 1 type veth peer name vp numrxqueues 1 numtxqueues 1 "
                f"netns {bed.peer.name}", "link set va up")
    bed.peer.ip("link set vp up")
    daemon.wait_log("uplink va is back")
    wait_for(lambda: bed.host.link("va")["operstate"] == "UP", "the link is up")
    assert blocked(bed, "kernel") == {DROPPED}
    assert len(glob.glob(DISPATCHERS)) == 1, "the one that moved away has an empty dispatcher"
    bed.kern.ip("link del va")
    daemon.stop()


# ---- what can't be shared ----

HOLD_LINK = """
import ctypes, os, socket, sys
bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
code = (ctypes.c_uint64 * 2)(0x00000002000000b7, 0x95)  # r0 = XDP_PASS; exit
fd = bpf.bpf_prog_load(6, b"pass", b"GPL", code, ctypes.c_size_t(2), None)
link = bpf.bpf_link_create(fd, socket.if_nametoindex("va"), 37, None)  # BPF_XDP
assert link >= 0, os.strerror(ctypes.get_errno())
print("ready", flush=True)
sys.stdin.read()
"""


def pass_object(bed, folder):
    """Compiles a program that passes everything."""
    (folder / "pass.c").write_text(PASS)
    bed.host.run("clang", "-O2", "-g", "-target", "bpf", "-c", str(folder / "pass.c"), "-o", str(folder / "pass.o"))
    return str(folder / "pass.o")


@contextlib.contextmanager
def foreign_program(bed, how, tmp_path):
    if how == "link":
        with subprocess.Popen(bed.in_host("/usr/bin/python3", "-c", HOLD_LINK), stdin=subprocess.PIPE, text=True,
                              stdout=subprocess.PIPE) as holder:
            assert holder.stdout.readline() == "ready\n"
            yield
            holder.stdin.close()
        return
    bed.host.ip(f"link set va xdp obj {pass_object(bed, tmp_path)} sec xdp")
    yield
    bed.host.ip("link set va xdp off")


@pytest.mark.parametrize("how", [pytest.param("plain", marks=EVERY_DAY), pytest.param("link", marks=LONG)])
def test_a_program_outside_of_a_dispatcher_is_named_with_the_remedy(bed, how, tmp_path):
    with foreign_program(bed, how, tmp_path):
        prog = bed.host.link("va")["xdp"]["prog"]
        daemon = start(bed, ready=False)
        assert daemon.wait_exit() == 1
        assert f"attach to va: another XDP program is there (id {prog['id']}, pass)" in daemon.log[-1]
        assert "end its owner" in daemon.log[-1] and "xdp-loader" in daemon.log[-1]
        assert bed.host.link("va")["xdp"]["prog"]["id"] == prog["id"]
        assert not glob.glob(f"{PIN_ROOT}/{bed.name}*")
        remedy = re.search("'(ip link set dev va xdp off)'", daemon.log[-1])
        assert remedy, daemon.log[-1]
        if how == "plain":
            tool(bed, *remedy[1].split())
    wait_for(lambda: "xdp" not in bed.host.link("va"), "the program goes")
    daemon = start(bed)
    assert blocked(bed, "kernel") == {DROPPED}
    daemon.stop()


def force(bed, program, check=True):
    """Has `ip` replace whatever program is on the uplink."""
    return tool(bed, "ip", "-force", "link", "set", "dev", "va", "xdp", "obj", program, "sec", "xdp", check=check)


@pytest.mark.kernels
def test_a_program_that_is_forced_onto_the_uplink_is_named_until_it_goes(shared, tmp_path):
    bed = shared
    daemon = start(bed)
    since = len(daemon.log)
    force(bed, pass_object(bed, tmp_path))
    foreign = bed.host.link("va")["xdp"]["prog"]
    assert foreign["name"] == "pass"
    daemon.wait_log("uplink va has lost its XDP program", since=since)
    daemon.wait_log(rf"another XDP program is there \(id {foreign['id']}, pass\).*ip link set dev va xdp off", since=since)
    assert blocked(bed, "stack") == set(), "it passes everything, and nobody else is there"
    assert bed.host.link("va")["xdp"]["prog"]["id"] == foreign["id"]
    assert not any("is back" in line for line in daemon.log[since:])
    tool(bed, "ip", "link", "set", "dev", "va", "xdp", "off")
    daemon.wait_log("uplink va is back", since=since)
    assert blocked(bed, "kernel") == {DROPPED}
    assert programs(bed) == ["xbridge"]
    daemon.stop()
    assert not glob.glob(DISPATCHERS)


@pytest.mark.kernels
def test_exclusive_is_alone_by_a_link(bed, tmp_path):
    daemon = start(bed, uplinks=["va,dedicated,xdp=exclusive"])
    assert daemon.port("va")["attached"] == "link"
    assert ours_alone(bed)
    assert os.path.exists(f"{PIN_ROOT}/{bed.name}/internal/link_0")
    assert "is alone there" not in daemon.text()
    program = pass_object(bed, tmp_path)
    assert "resource busy" in tool(bed, "xdp-loader", "load", "va", program, check=False).stderr
    assert "active BPF XDP link" in force(bed, program, check=False).stderr
    assert blocked(bed, "kernel") == {DROPPED}
    daemon.kill()
    daemon.wait_exit()
    with Leaks(bed) as leaks:
        daemon = start(bed, uplinks=["va,dedicated,xdp=exclusive"])
        wait_for(lambda: leaks.sent > 100, "frames are sent")
        assert not leaks.found()
    daemon.stop()
    assert "xdp" not in bed.host.link("va")


@pytest.mark.kernels
@pytest.mark.parametrize("way", ["beside", "exclusive"])
def test_xdpdump_sees_what_the_program_takes(shared, way):
    """Behind a dispatcher it looks on where it is told to."""
    bed = shared
    if way == "beside":
        load_filter(bed)
    start(bed, uplinks=["va,dedicated" + (",xdp=exclusive" if way == "exclusive" else "")])
    which = ["-p", next(filter(is_ours, order(bed)))] if way == "beside" else []
    dump = subprocess.Popen(bed.in_host("timeout", "-s", "INT", str(2 * PATIENCE), "xdpdump", "-i", "va", *which, "--rx-capture",
                                        "entry,exit"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: tool(bed, "bpftool", "link", "show").stdout.count("trace_f") == 2, "it looks on at both ends")
    filtered = {FILTERED} if way == "beside" else set()
    assert blocked(bed, "kernel") == {DROPPED} | filtered
    out, said = dump.communicate(timeout=10 * PATIENCE)
    seen = ["DROP", "REDIRECT"] if filtered else ["DROP", "REDIRECT", "REDIRECT"]
    assert sorted(re.findall(r"\bsteer\w*\(\)@exit\[(\w+)\]", out)) == seen, out + said
    if filtered:
        unload_filter(bed)


@pytest.mark.kernels
def test_exclusive_where_others_are_is_refused_with_the_remedy(shared):
    load_filter(shared)
    daemon = start(shared, uplinks=["va,dedicated,xdp=exclusive"], ready=False)
    assert daemon.wait_exit() == 1
    assert "(id " in daemon.log[-1] and "xdp_dispatcher" in daemon.log[-1]
    assert "without xdp=exclusive" in daemon.log[-1] and "xdp-loader unload va --all" in daemon.log[-1]
    assert programs(shared) == ["filter"]
    unload_filter(shared)


@pytest.mark.kernels
def test_another_way_than_the_run_before_takes_over(shared):
    bed = shared
    for uplink, attached in [("va,dedicated,xdp=exclusive", "link"), ("va,dedicated", "dispatcher")] * 2:
        daemon = start(bed, uplinks=[uplink])
        assert daemon.port("va")["attached"] == attached
        assert blocked(bed, "kernel") == {DROPPED}
        daemon.kill()
        daemon.wait_exit()
    start(bed).stop()
    assert not glob.glob(DISPATCHERS)


def test_without_the_right_to_share_it_is_alone_and_says_why(bed):
    without = ["setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin"]
    daemon = start(bed, wrap=without, netns=False, addresses=False)
    assert daemon.port("va")["attached"] == "link"
    assert re.search(r"uplink va: its XDP program is alone there, others can't join it \(extension programs, "
                     r"[a-z ]+: Operation not permitted\)", daemon.text())
    daemon.stop()


@pytest.mark.kernels
def test_two_instances_do_not_share_an_uplink(shared):
    start(shared)
    other = start(shared, "--name", f"{shared.name}b", "--ifname", "tap1", ready=False)
    assert other.wait_exit() == 1
    assert f"attach to va: the instance '{shared.name}' of xbridge is on it" in other.log[-1]
    assert programs(shared) == ["xbridge"]
    shared.daemons[0].stop()


# ---- doctor ----

def finding(bed, check):
    done = tool(bed, binary(), "doctor", "va", "--json", check=False)
    return [f for f in json.loads(done.stdout)["findings"] if f["check"] == check]


@pytest.mark.kernels
def test_doctor_tells_who_is_behind_the_dispatcher(shared):
    bed = shared
    load_filter(bed)
    (alone,) = finding(bed, "program")
    assert alone["state"] == "ok" and "xdpfilt" in alone["text"] and "joins" in alone["text"]
    daemon = start(bed)
    ours, both = finding(bed, "program")
    assert ours["state"] == "note" and f"'{bed.name}', which runs" in ours["text"]
    assert both["state"] == "ok" and re.search(r"xdpfilt\w*, steer", both["text"])
    daemon.kill(signal.SIGKILL)
    daemon.wait_exit()
    (left,) = [f for f in finding(bed, "leftovers") if bed.name in f["text"] and "XDP program" in f["text"]]
    assert left["state"] == "warn" and "is on va" in left["text"]
    start(bed).stop()
    unload_filter(bed)


# ---- the page ----

@pytest.mark.vm
@pytest.mark.usefixtures("extensions")
def test_commands_of_the_page_that_need_a_dispatcher_work_as_they_stand(make_bed):
    """And they leave the other program working; what the page shows as the last one's output is what it says."""
    host = Host(make_bed(uplinks=2, tap_in_host=True))
    try:
        (block,) = blocks("docs/beside.md", "sh dispatcher")
        host.shell.type("ip netns add dataplane")
        for line in block.commands:
            host.type(line, block.place)
            if host.runs:
                host.check_traffic(f"{block.place}: after `{line}`")
        said = host.shell.type("xdp-loader status eth0").output
        assert re.search(r"xdp_dispatcher +native", said) and re.search(r"10 +xdpfilt_\w+ .*XDP_PASS", said), said
        assert re.search(r"100 +steer(_mute)? .*XDP_PASS", said), said
        host.end()
        said = host.shell.type("xdp-loader status eth0").output
        assert "xdpfilt" in said and "steer" not in said, said
        assert host.shell.type("xdp-filter unload eth0").status == 0
    finally:
        host.close()
