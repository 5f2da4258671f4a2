# SPDX-License-Identifier: BSD-2-Clause
"""How xbridge starts, ends, is killed, stalls and comes back."""

import glob
import os
import random
import re
import signal
import socket
import subprocess
import time
import uuid
from statistics import median

import pytest

from handed_in import open_tap
from load import OWN_IP, Flood, Wire, answers, wait_under_load
from xbridge import IN_VM, PATIENCE, RUN_DIR, TAP_IP, binary, peer_ip, scaled, wait_for

STALL_MS = 1000  # --stall-ms' default
STALL_SLACK_S = 0.5 if PATIENCE == 1 else 1  # what a signal and a question may take


@pytest.fixture
def bed(make_bed):
    """An uplink with an address of its own: where xbridge is not, the host itself answers there."""
    bed = make_bed()
    bed.host.ip(f"addr add {OWN_IP}/24 dev va")
    return bed


def forget_neighbours(bed):
    bed.peer.ip("neigh flush dev vp")


# ---- SIGTERM ----

@pytest.mark.parametrize("signum", [pytest.param(signal.SIGTERM, marks=pytest.mark.vm), signal.SIGINT])
def test_stop_under_load_takes_less_than_a_second_and_leaves_nothing(bed, signum):
    daemon = bed.start()
    with Flood(bed):
        wait_under_load(daemon)
        daemon.stop(signum)  # checks both status and time
    assert not bed.leftovers()
    forget_neighbours(bed)
    assert answers(bed.peer, OWN_IP)


# ---- SIGKILL ----

START_S = 10 if PATIENCE == 1 else 25  # from the start to `ready`, mostly, without what its threads wait for a CPU: ten times


def start_and_work(bed, *options):
    """Starts it under load and waits until packets cross; returns how long it took to be ready."""
    began = time.monotonic()
    daemon = bed.start(*options, ready=False)
    daemon.wait_log("^xbridge: ready: ")
    took = time.monotonic() - began - sum(daemon.waits().values())
    wait_under_load(daemon)
    return took


def kill_under_load(bed, rounds):
    """Kills it again and again, one time while it starts, one time after packets have crossed, which is how it ends; the
    uplink's own stack takes over each time."""
    options, took = ["--persist"], []  # so that the flood's other end stays
    bed.start(*options)
    with Flood(bed):
        wait_under_load(bed.daemon)
        for i in range(rounds):
            bed.daemon.kill()
            assert bed.daemon.wait_exit() == -signal.SIGKILL
            forget_neighbours(bed)
            assert answers(bed.peer, OWN_IP), f"after kill {i}"
            bed.peer.ip(f"neigh replace {TAP_IP} lladdr {bed.kern.mac('tap0')} dev vp")
            if (rounds - i) % 2:
                took.append(start_and_work(bed, *options))
                continue
            bed.start(*options, ready=False)
            time.sleep(random.uniform(0, 0.5 * PATIENCE))  # any moment: not to wait for something
            assert bed.daemon.running(), bed.daemon.text()
    assert (len(took), len(bed.daemons)) == ((rounds + 1) // 2, 1 + rounds)
    print(f"ready after {min(took):.2f} to {max(took):.2f} s, mostly {median(took):.2f} s")
    assert median(took) < START_S, took
    forget_neighbours(bed)
    assert answers(bed.peer, TAP_IP)
    bed.daemon.stop()
    bed.kern.ip("link del tap0")


def test_kill_under_load_leaves_the_uplink_to_its_own_stack_and_the_next_start_takes_over(bed):
    kill_under_load(bed, scaled(5, 2))


@pytest.mark.long
def test_a_hundred_kills_under_load_leave_nothing_that_blocks_the_next_start(bed):
    kill_under_load(bed, scaled(100, 20))


@pytest.mark.kernels
def test_kill_without_persist_takes_tap0_along_and_the_next_start_makes_it_again(bed):
    daemon = bed.start()
    with Flood(bed):
        wait_under_load(daemon)
        daemon.kill()
        daemon.wait_exit()
        began = time.monotonic()
        daemon = bed.start()  # at once
        assert time.monotonic() - began - sum(daemon.waits().values()) < 2 * PATIENCE
    assert daemon.wait_log("took over the maps of an earlier run")
    wait_for(lambda: answers(bed.peer, TAP_IP), "the TAP answers again")


@pytest.mark.kernels
def test_drop_stays_in_force_after_a_kill_until_detach(bed):
    daemon = bed.start("--default", "drop", addresses=False)
    own_mac = bed.host.mac("va")
    with Wire(bed.peer, "vp") as wire:
        daemon.kill()
        daemon.wait_exit()
        assert not list(wire.who_has(OWN_IP, 0.3)), "a group frame got through"
        bed.peer.ip(f"neigh replace {OWN_IP} lladdr {own_mac} dev vp")
        assert answers(bed.peer, OWN_IP), "the own address has to pass"
        daemon.cli("detach", "va", named=False)
        wait_for(lambda: next(wire.who_has(OWN_IP, 0.5), None) == own_mac, "its stack answers")  # a NIC may reset its link
    assert not glob.glob(f"/sys/fs/bpf/xbridge/{bed.name}*")
    bed.forgive_leftovers = True  # its socket and lock: no program of ours knows that it is dead


def test_start_that_fails_leaves_in_force_what_a_killed_run_left(bed):
    daemon = bed.start("--default", "drop", addresses=False)
    daemon.kill()
    daemon.wait_exit()
    wait_for(lambda: not bed.kern.link("tap0"), "the kernel has let go of tap0")
    bed.kern.ip("link add tap0 type veth peer name other")
    assert bed.start("--default", "drop", ready=False).wait_exit() == 1
    with Wire(bed.peer, "vp") as wire:
        assert not list(wire.who_has(OWN_IP, 0.3)), "a group frame got through"
    bed.kern.ip("link del tap0")
    bed.start()


def test_next_start_takes_the_program_off_an_uplink_that_it_does_not_name(make_bed):
    bed = make_bed(uplinks=2)
    daemon = bed.start()
    daemon.kill()
    daemon.wait_exit()
    assert bed.host.link("vb")["xdp"]
    bed.start(uplinks=["va,dedicated"])
    assert "xdp" not in bed.host.link("vb")


# ---- SIGSTOP ----

@pytest.mark.kernels
@pytest.mark.parametrize("stall_ms", [STALL_MS, 300])
def test_stalled_daemon_frames_pass_within_the_limit_and_come_back(bed, stall_ms):
    daemon = bed.start("--stall-ms", str(stall_ms))
    own_mac, tap_mac = bed.host.mac("va"), bed.kern.mac("tap0")
    with Wire(bed.peer, "vp") as wire:
        # again and again: a NIC may reset its link when it is taken
        wait_for(lambda: next(wire.who_has(TAP_IP, 0.5), None) == tap_mac, "the TAP answers")
        assert not list(wire.who_has(OWN_IP, 0.2)), "group frames of a dedicated uplink are xbridge's"
        began = time.monotonic()
        daemon.kill(signal.SIGSTOP)
        wait_for(lambda: next(wire.who_has(OWN_IP, 0.01), None) == own_mac, "the uplink's stack answers")
        took = time.monotonic() - began
        daemon.kill(signal.SIGCONT)
        assert took < stall_ms / 1000 + STALL_SLACK_S, f"passed after {took:.3f} s"
        wait_for(lambda: next(wire.who_has(TAP_IP, 0.1), None) == tap_mac, "the TAP answers again")
        assert not list(wire.who_has(OWN_IP, 0.2))
    assert daemon.stats()["ports"]["va"]["xdp"]["pass_stall"] > 0


def test_daemon_that_only_sleeps_never_stalls(bed):
    daemon = bed.start("--stall-ms", "100")
    with Wire(bed.peer, "vp") as wire:
        for _ in range(50):
            wire.send(b"\xff" * 6 + wire.mac + b"\x88\xb5" + bytes(46))
            time.sleep(random.uniform(0, 0.05))  # any moment: not to wait for something
    xdp = daemon.rest()["ports"]["va"]["xdp"]
    assert xdp["redirect"] >= 50
    assert xdp["pass_stall"] == 0


# ---- --persist ----

@pytest.mark.kernels
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_persistent_tap_keeps_addresses_and_routes(bed, signum):
    daemon = bed.start("--persist")
    bed.kern.ip(f"route add 198.51.100.0/24 via {peer_ip()}", "route add 2001:db8:1::/64 via 2001:db8::2")
    mac = bed.kern.mac("tap0")
    daemon.kill(signum)
    daemon.wait_exit()

    def routes():
        return (bed.kern.run("ip", "route", "show", "198.51.100.0/24").stdout +
                bed.kern.run("ip", "-6", "route", "show", "2001:db8:1::/64").stdout)
    wanted = rf"^198.51.100.0/24 via {peer_ip()} dev tap0.*\n2001:db8:1::/64 via 2001:db8::2 dev tap0"
    assert re.search(wanted, routes())
    bed.start("--persist", addresses=False)
    assert re.search(wanted, routes())
    wait_for(lambda: "linkdown" not in routes(), "tap0 has a carrier, as its uplink has")  # a NIC may take a while
    assert bed.kern.mac("tap0") == mac
    assert answers(bed.kern, peer_ip())
    assert answers(bed.kern, "2001:db8::2")
    bed.daemon.stop()
    bed.kern.ip("link del tap0")


# ---- what it makes ----

def test_mac_of_tap0_is_the_same_after_each_start_and_another_for_another_name(bed):
    """The instance's name, which is the interface's unless it is given."""
    macs = {}
    for name in bed.name, bed.name, f"{bed.name}.b", bed.name:
        daemon = bed.start("--name", name, addresses=False)
        mac = bed.kern.mac("tap0")
        assert mac == macs.setdefault(name, mac)
        assert int(mac[:2], 16) & 3 == 2, "local, unicast"
        daemon.stop()
        assert not bed.kern.link("tap0")
    assert len(set(macs.values())) == 2


# ---- readiness, status ----

def test_systemd_is_told_ready_and_stopping(bed, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10 * PATIENCE)
        sock.bind(path)
        bed.env["NOTIFY_SOCKET"] = path
        daemon = bed.start()
        assert sock.recv(4096) == b"READY=1"
        daemon.stop()
        assert sock.recv(4096) == b"STOPPING=1"
        assert bed.start("--workers", "many", ready=False).wait_exit() == 2
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            sock.recv(4096)


def test_without_an_uplink_it_says_that_there_is_nothing_to_bridge_with(make_bed):
    bed = make_bed(tap_in_host=True)
    said = r"^xbridge: tap0 is the only port: nothing to bridge it with yet \(give --uplink\)$"
    daemon = bed.start(uplinks=[])
    assert daemon.wait_log(said)
    daemon.stop()
    assert "the only port" not in bed.start().text()


def test_control_socket_answers_as_soon_as_it_is_ready(bed, tmp_path):
    """What waits for READY=1 may ask at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10 * PATIENCE)
        sock.bind(str(tmp_path / "notify"))
        bed.env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        daemon = bed.start(ready=False)
        sock.recv(4096)
        assert daemon.status()["name"] == bed.name


# ---- threads ----

def statuses(pid):
    """What the kernel says of each thread of a process, field by field."""
    for task in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(task) as file:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def cpus_of_workers(daemon):
    return {fields["Name"]: fields["Cpus_allowed_list"] for fields in statuses(daemon.pid)
            if fields["Name"].startswith("xb-worker")}


FIRST, LAST = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))


@pytest.mark.parametrize("options, wanted", [
    (["--cpus", f"{FIRST},{LAST}"], [FIRST, LAST]), (["--cpus", f"{LAST}"], [LAST]),
    (["--cpus", f"{LAST}", "--workers", "2"], [LAST, LAST])], ids=["one each", "fewer workers", "one for all"])
def test_workers_run_on_the_cpus_that_were_named_for_them(make_bed, options, wanted):
    bed = make_bed(queues=2)
    daemon = bed.start("--queues", "2", *options)
    names = {f"xb-worker-{i}": str(cpu) for i, cpu in enumerate(wanted)}
    wait_for(lambda: cpus_of_workers(daemon) == names, f"{names}, not {cpus_of_workers(daemon)}")
    assert answers(bed.peer, TAP_IP)
    (main,) = [fields for fields in statuses(daemon.pid) if fields["Pid"] == str(daemon.pid)]
    with open("/proc/thread-self/status") as file:
        assert f"Cpus_allowed_list:\t{main['Cpus_allowed_list']}\n" in file, "the control thread goes where it likes"


@pytest.mark.skipif(FIRST == LAST, reason="has one CPU")
@pytest.mark.parametrize("options, said", [
    (["--cpus", f"{FIRST},{LAST}", "--workers", "1"], f"cpus: no worker runs on CPU {LAST}: there is 1 (--workers)"),
    (["--cpus", f"{FIRST},{LAST}"], f"cpus: no worker runs on CPU {LAST}: there is 1 (one for each queue of the port with most)"),
    (["--cpus", f"{LAST}", "--workers", "2"], f"cpus: 2 workers share CPU {LAST}: name one for each, or have fewer (--workers)"),
    (["--cpus", f"{LAST}"], None)], ids=["more than workers", "more than queues", "fewer", "as many"])
def test_cpus_that_are_left_over_or_shared_cause_a_warning(make_bed, options, said):
    text = make_bed().start(*options).text()
    assert f"warning: {said}" in text if said else "cpus:" not in text


def test_status_shows_where_each_worker_may_run(make_bed):
    bed = make_bed(queues=2)
    daemon = bed.start("--queues", "2", "--cpus", f"{LAST},{FIRST}")
    assert [worker["cpus"] for worker in daemon.status()["workers"]] == [str(LAST), str(FIRST)]
    assert f"workers: 2 on CPUs {LAST}; {FIRST}\n" in daemon.cli("status").stdout


def test_a_worker_that_was_moved_off_its_cpu_is_pinned_again(make_bed):
    """That is what the kernel does when the CPU goes offline."""
    daemon = make_bed().start("--cpus", f"{LAST}")
    (worker,) = [int(fields["Pid"]) for fields in statuses(daemon.pid) if fields["Name"] == "xb-worker-0"]
    os.sched_setaffinity(worker, range(FIRST, LAST + 1))
    daemon.wait_log(rf"worker 0 is pinned to CPU {LAST} again; it ran on CPUs {FIRST}-{LAST}")
    assert os.sched_getaffinity(worker) == {LAST}


@pytest.mark.vm
@pytest.mark.skipif(not IN_VM, reason="takes a CPU offline, which others here use")
def test_workers_are_pinned_again_when_their_cpu_is_back(make_bed):
    bed = make_bed()
    daemon = bed.start("--cpus", f"{LAST}")
    online = f"/sys/devices/system/cpu/cpu{LAST}/online"
    with open(online, "w", encoding="ascii") as file:
        file.write("0")
    try:
        daemon.wait_log(f"worker 0 can't be pinned to CPU {LAST}: Invalid argument .*; it runs on CPUs ")
        assert answers(bed.peer, TAP_IP)
        assert f"CPU {LAST}, where CPUs {FIRST}" in bed.start("--name", "late", "--ifname", "late0", "--cpus", f"{LAST}", uplinks=[],
                                                              ready=False).wait_log("can't start: (.*)")[1]
    finally:
        with open(online, "w", encoding="ascii") as file:
            file.write("1")
    daemon.wait_log(f"worker 0 is pinned to CPU {LAST} again")
    assert cpus_of_workers(daemon) == {"xb-worker-0": str(LAST)}
    assert answers(bed.peer, TAP_IP)


@pytest.fixture(name="cpuset")
def cpuset_of_one_cpu(tmp_path):
    """Words before a command that put it into a cpuset of CPU LAST alone."""
    two = "/sys/fs/cgroup/cgroup.controllers"
    if os.path.exists(two) and "cpuset" in open(two, encoding="ascii").read().split():
        root, kind, options = tmp_path, "cgroup2", []
    else:
        root, kind, options = tmp_path, "cgroup", ["-o", "cpuset"]
    subprocess.run(["mount", "-t", kind, *options, "none", root], check=True)
    group = root / f"xbridge-test-{uuid.uuid4().hex}"
    try:
        if kind == "cgroup2":
            (root / "cgroup.subtree_control").write_text("+cpuset")
        group.mkdir()
        (group / "cpuset.cpus").write_text(str(LAST))
        if kind == "cgroup":
            (group / "cpuset.mems").write_text("0")
        yield ["sh", "-c", f"echo $$ >{group}/cgroup.procs && exec \"$@\"", "sh"]
        wait_for(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
        group.rmdir()
    finally:
        subprocess.run(["umount", root], check=True)


@pytest.mark.skipif(FIRST == LAST, reason="has one CPU")
def test_a_cpuset_is_used_and_told(make_bed, cpuset):
    bed = make_bed(queues=2)
    daemon = bed.start("--queues", "2", wrap=cpuset)
    daemon.wait_log(rf"workers use CPUs {LAST} of the \d+ online: this process's cpuset or affinity has no others")
    assert cpus_of_workers(daemon) == {"xb-worker-0": str(LAST)}
    daemon.stop()
    refused = bed.start("--cpus", f"{FIRST}", wrap=cpuset, ready=False)
    refused.wait_log(f"can't start: cpus: pin a worker to CPU {FIRST}, where CPUs {LAST} can be used: .* the cpuset")
    assert refused.wait_exit() == 1
    assert "workers use CPUs" not in bed.start("--queues", "2").text()


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors_become_nothing_else(make_bed, closed):
    """Neither the lock file nor a socket gets what is written to them."""
    bed = make_bed()
    daemon = bed.start(ready=False, wrap=["sh", "-c", f"exec {closed}; exec \"$@\"", "sh"])
    wait_for(lambda: daemon.cli("status", check=False).returncode == 0, "it runs")
    bed.address_tap()
    for number in [int(word[0]) for word in closed.split()]:
        assert os.readlink(f"/proc/{daemon.pid}/fd/{number}") == "/dev/null"
    bed.host.ip("link set va mtu 1400")  # it has something to say
    wait_for(lambda: daemon.port("va")["mtu"] == 1400, "it has said it")
    assert os.path.getsize(f"{RUN_DIR}/{bed.name}.lock") == 0
    wait_for(lambda: answers(bed.peer, TAP_IP), "its uplink is attached, which nobody waited for")
    done = subprocess.run(["sh", "-c", f"exec {closed}; exec {binary()} status --name {bed.name}"], check=False)
    assert done.returncode in (0, 1)
    assert daemon.status()["pid"] == daemon.pid


# ---- capabilities ----

CAPS = {"net_admin": 12, "net_raw": 13, "sys_admin": 21, "perfmon": 38, "bpf": 39}
IPC_LOCK = 14  # permitted, never effective, where the limit of locked memory can't be raised


own_threads_only = pytest.mark.skipif("tsan/" in binary(), reason="ThreadSanitizer's own thread keeps all rights")


def capabilities(pid):
    """(thread, what it may do, by name) of each thread that runs our code.

    From Linux 6.4 on vhost's own are among the threads of the process, with the rights of whoever made them.
    """
    found = []
    for fields in statuses(pid):
        if fields["Name"].startswith("vhost-"):
            continue
        held = {name: int(fields[name], 16) for name in ("CapEff", "CapPrm")}
        assert held["CapPrm"] & ~(1 << IPC_LOCK) == held["CapEff"], f"{fields['Name']}: {held}"
        assert held["CapPrm"] == held["CapEff"] or fields["Name"] == "xbridge"
        names = {name for name, bit in CAPS.items() if held["CapEff"] >> bit & 1}
        assert sum(1 << CAPS[name] for name in names) == held["CapEff"], f"{fields['Name']} has more: {held}"
        found.append((fields["Name"], names))
    return found


def check_capabilities(daemon, control):
    threads = capabilities(daemon.pid)
    assert len([name for name, _ in threads if name.startswith("xb-worker")]) == len(daemon.status()["workers"])
    for name, caps in threads:
        assert caps == (control if name == "xbridge" else set()), threads


@own_threads_only
@pytest.mark.kernels
def test_workers_keep_no_capability_and_control_what_an_uplink_needs(make_bed):
    bed = make_bed(queues=2, tap_in_host=True)
    daemon = bed.start("--queues", "2", "--workers", "2")
    check_capabilities(daemon, {"net_admin", "net_raw", "bpf"})
    assert answers(bed.peer, TAP_IP)
    check_capabilities(daemon, {"net_admin", "net_raw", "bpf"})


@own_threads_only
def test_cap_sys_admin_is_kept_only_with_netns(bed):
    check_capabilities(bed.start(), {"net_admin", "net_raw", "bpf", "sys_admin"})


# ---- the doorman: who loads and attaches XDP programs ----

def children(pid):
    """None of one that has ended."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


# ---- what no thread may do ----

@own_threads_only
@pytest.mark.vm
def test_each_thread_is_confined_and_nothing_gives_it_rights_again(bed):
    daemon = bed.start()
    for pid in [daemon.pid, *children(daemon.pid)]:
        for fields in statuses(pid):
            name = fields["Name"]
            if name.startswith("vhost-"):  # the kernel's own, since 6.4
                continue
            assert (fields["Seccomp"], fields["NoNewPrivs"]) == ("2", "1"), name
            assert not any(int(fields[cap], 16) for cap in ("CapInh", "CapBnd", "CapAmb")), name


def calls(kind):
    return subprocess.run([binary(), "--calls", kind], check=True, capture_output=True, text=True).stdout.split()


def test_a_worker_may_make_at_most_twenty_system_calls():
    assert {"poll", "readv", "io_uring_enter", "sendmmsg"} <= set(calls("worker"))
    assert len(calls("worker")) <= 20, calls("worker")


def test_no_thread_may_run_a_program_or_change_what_it_is():
    never = {"execve", "execveat", "ptrace", "setuid", "setgid", "setgroups", "setresuid", "mount", "umount2", "pivot_root",
             "chroot", "unshare", "init_module", "finit_module", "kexec_load", "reboot", "userfaultfd", "process_vm_writev"}
    for kind in "worker", "control", "doorman":
        assert not never & set(calls(kind)), kind
    assert not {"openat", "socket", "mmap", "bpf", "ioctl", "clone", "setns"} & set(calls("worker"))
    assert not {"fork", "clone", "clone3"} & set(calls("control"))


@own_threads_only
def test_doormen_have_the_rights_for_programs_and_nothing_open(bed):
    """One on duty, one in reserve."""
    doormen = children(bed.start().pid)
    assert len(doormen) == 2
    for doorman in doormen:
        assert capabilities(doorman) == [("xb-doorman", {"net_admin", "sys_admin", "perfmon", "bpf"})]
        assert sorted(os.listdir(f"/proc/{doorman}/fd"), key=int) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_doormen_end_with_the_daemon(bed, signum):
    daemon = bed.start()
    doormen = children(daemon.pid)
    daemon.kill(signum)
    daemon.wait_exit()
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in doormen), "the doormen end")
    bed.start()  # takes over what was left


def name_of(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read().strip()


def test_without_uplink_there_is_no_doorman(make_bed):
    bed = make_bed(uplinks=0, tap_in_host=True)
    assert [name_of(pid) for pid in children(bed.start(uplinks=[]).pid)] == ["xb-deputy"]


def runs(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in "ZX"


@own_threads_only
def test_a_doorman_that_was_killed_is_replaced_and_needed_rights_are_kept(bed):
    """Whichever of the two, again and again; what the new one can do shows when the uplink is taken anew."""
    daemon = bed.start()
    for i in range(4):
        before, since = children(daemon.pid), len(daemon.log)
        os.kill(before[i % 2], signal.SIGKILL)
        daemon.wait_log(rf"the process xb-doorman \({before[i % 2]}\) has ended; another replaces it", since=since)
        wait_for(lambda: len(set(children(daemon.pid)) - {before[i % 2]}) == 2,  # pylint: disable=cell-var-from-loop
                 "there are two again, and no zombie")
        since = len(daemon.log)
        bed.host.ip(f"link set va mtu {1400 + i}")
        daemon.wait_log(f"uplink va has MTU {1400 + i}", since=since)
        daemon.wait_log("uplink va: 1 of 1 queues", 20, since=since)  # it is taken anew, whichever has done that
    wait_for(lambda: all(runs(pid) for pid in children(daemon.pid)), "both run")
    for doorman in children(daemon.pid):
        assert capabilities(doorman) == [("xb-doorman", {"net_admin", "sys_admin", "perfmon", "bpf"})]


def test_without_any_doorman_it_goes_on_and_says_so(bed):
    daemon = bed.start()
    for signum in signal.SIGSTOP, signal.SIGKILL:  # so that neither has the time to make another
        for doorman in children(daemon.pid):
            os.kill(doorman, signum)
    daemon.wait_log("both processes xb-doorman have ended: .*restart xbridge")
    bed.host.ip("link set va mtu 1400")
    daemon.wait_log("va can't be used: give the doorman an order: .*restart xbridge")
    daemon.stop()
    assert not daemon.cli("detach", "va", named=False).returncode


# ---- the deputy: who changes the TAP where there is no uplink ----

@own_threads_only
def test_without_uplink_no_thread_keeps_a_capability_and_the_deputy_has_one(make_bed):
    bed = make_bed(uplinks=0, tap_in_host=True)
    daemon = bed.start(uplinks=[])
    check_capabilities(daemon, set())
    (deputy,) = children(daemon.pid)
    assert capabilities(deputy) == [("xb-deputy", {"net_admin"})]
    assert sorted(os.listdir(f"/proc/{deputy}/fd"), key=int) == ["0", "1", "2", "3"]


@pytest.mark.kernels
@pytest.mark.parametrize("tap_in_host", [True, False], ids=["here", "netns"])
def test_what_needs_net_admin_is_done_without_an_uplink_all_the_same(make_bed, tmp_path, tap_in_host):
    bed = make_bed(uplinks=0, tap_in_host=tap_in_host)
    path = tmp_path / "xbridge.conf"
    path.write_text("mtu 1400\n")
    daemon = bed.start("--config", str(path), uplinks=[])
    daemon.cli("port", "set", "tap0", "--queues", "4")
    assert daemon.port("tap0")["queues"] == 4
    path.write_text("mtu 1300\n")
    daemon.kill(signal.SIGHUP)
    wait_for(lambda: bed.kern.link("tap0")["mtu"] == 1300, "its MTU is set")
    bed.kern.ip("link del tap0")
    daemon.wait_log("tap0 is back")
    wait_for(lambda: daemon.port("tap0")["up"], "it is up")
    assert daemon.port("tap0")["queues"] == 4 and bed.kern.link("tap0")["mtu"] == 1300


def test_without_its_deputy_it_says_what_it_can_not_do(make_bed):
    bed = make_bed(uplinks=0, tap_in_host=True)
    daemon = bed.start(uplinks=[])
    (deputy,) = children(daemon.pid)
    os.kill(deputy, signal.SIGKILL)
    wait_for(lambda: not children(daemon.pid), "it is gone")
    bed.kern.ip("link del tap0")
    daemon.wait_log("tap0 can't be used: .*Operation not permitted.*CAP_NET_ADMIN")


@own_threads_only
def test_a_tap_that_was_handed_in_needs_no_deputy(make_bed):
    bed = make_bed(uplinks=0, tap_in_host=True)
    (fd,) = open_tap(bed.host, "given0")
    daemon = bed.start("--tap-fd", str(fd), uplinks=[], fds=[fd], addresses=False)
    os.close(fd)
    assert not children(daemon.pid)
    check_capabilities(daemon, set())
