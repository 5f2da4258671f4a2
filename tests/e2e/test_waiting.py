# SPDX-License-Identifier: BSD-2-Clause
"""What makes the daemon wait, and what it does meanwhile: queries are answered, a change that nobody confirms is taken
back on time, and SIGTERM ends it within a second.

    A doorman that stands still    the process that attaches XDP programs is stopped (SIGSTOP)
    libxdp's lock                  somebody holds it, so that attaching waits (in a VM: this host's kernel has no dispatcher)
    a TAP queue that never empties a worker stands still, so that the packets in a queue that goes stay there
"""

import contextlib
import fcntl
import glob
import os
import platform
import re
import signal
import socket
import time

import pytest

from load import NO_STALL, answers, held_thread
from traffic import Task
from xbridge import PATIENCE, RUN_DIR, TAP_IP, wait_for

ANSWER_S = 0.1 * PATIENCE  # within which a query is answered
CONFIRM_SLACK_S = 0.1 * PATIENCE
FLOCK = {"x86_64": 73, "aarch64": 32}[platform.machine()]
NO_DISPATCHER = "the kernel refuses extension programs"


@pytest.fixture
def bed(make_bed):
    return make_bed(queues=2, quiet=True)


def children(pid):
    """None of one that has ended."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def doormen(daemon):
    return children(daemon.pid)


def waits_for_a_lock(daemon):
    """Whether a doorman carries out an order that can't go on."""
    for pid in [child for doorman in doormen(daemon) for child in children(doorman)]:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/syscall") as file:
            if file.read().split()[0] == str(FLOCK):
                return True
    return False


@contextlib.contextmanager
def stopped(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def libxdp_lock():
    """Held by us, as by somebody who changes what is attached."""
    os.makedirs("/sys/fs/bpf/xdp", exist_ok=True)
    fd = os.open("/sys/fs/bpf/xdp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def answer_times(daemon, seconds, every=0.02):
    """How long `status` took, asked again and again."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        daemon.status()
        times.append(time.monotonic() - began)
        time.sleep(every)
    return times


def check_rules_come_back_on_time(daemon):
    daemon.ask("steer", "load", "proto udp to kernel\n")
    began = time.monotonic()
    daemon.ask("steer", "load", "to drop\n", "--confirm", "1")
    loaded = time.monotonic()
    while [rule["rule"] for rule in daemon.ask("steer", "list")["rules"]] == ["to drop"]:
        assert time.monotonic() < loaded + 1 + CONFIRM_SLACK_S, "the rules before are not back"
        time.sleep(0.005)
    assert time.monotonic() > began + 1


def check_answers(daemon):
    """Nine of ten: a machine that is loaded may hold up one or two."""
    times = answer_times(daemon, 0.5)
    assert sorted(times)[len(times) * 9 // 10] < ANSWER_S, times


def check_is_served(daemon):
    check_rules_come_back_on_time(daemon)
    check_answers(daemon)


def take_the_uplink_anew(bed):
    """Makes the daemon attach its program again."""
    bed.host.ip("link set va mtu 1400")
    bed.daemon.wait_log("uplink va has MTU 1400")


def test_rules_that_nobody_confirms_go_on_time(bed):
    daemon = bed.start()
    for _ in range(3):
        check_rules_come_back_on_time(daemon)


# ---- the doorman ----

@pytest.mark.kernels
def test_a_doorman_that_stands_still_holds_up_nobody(bed):
    daemon = bed.start()
    with stopped(doormen(daemon)):
        take_the_uplink_anew(bed)
        check_is_served(daemon)
        assert daemon.port("va")["doing"] == "attaching"
    wait_for(lambda: daemon.port("va")["running"], "the uplink is used again")
    assert daemon.port("va")["doing"] is None


def check_that_the_doorman_ends_it(bed, daemon):
    """After the daemon's end, which was too early for it."""
    wait_for(lambda: not bed.leftovers(), "all is removed")
    daemon.reader.join()
    text = daemon.text()
    assert re.search("warning: va: its XDP program is not off yet.* xb-doorman goes on with that for up to 10 s", text), text
    assert "programs of" not in text


@pytest.mark.parametrize("uplinks", [1, 2])
def test_sigterm_ends_it_within_a_second_while_a_doorman_stands_still(make_bed, uplinks):
    """The doorman takes its program off later, and the name is not free until then."""
    bed = make_bed(uplinks=uplinks, quiet=True)
    daemon = bed.start()
    old = doormen(daemon)
    with stopped(old):
        daemon.stop(log_ends=False)  # checks the time
        assert len(bed.leftovers()) > uplinks
        again = bed.start(ready=False)
        assert again.wait_exit() == 1
        assert f"an instance named '{bed.name}' is starting, or still ending; try again in some seconds" in again.text()
    check_that_the_doorman_ends_it(bed, daemon)
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in old), "no doorman is left")
    bed.start()


def test_sigterm_ends_it_within_a_second_while_a_program_is_being_attached(bed):
    """What is not attached yet is given up, so that all is taken off in time by the other doorman."""
    daemon = bed.start()
    with stopped(doormen(daemon)[:1]):
        take_the_uplink_anew(bed)
        daemon.stop(log_ends=False)
    wait_for(lambda: not bed.leftovers(), "all is removed")


# ---- libxdp's lock ----

@pytest.mark.vm
@pytest.mark.kernels
def test_libxdps_lock_in_another_hand_holds_up_nobody(bed):
    daemon = bed.start()
    if daemon.port("va")["attached"] != "dispatcher":
        pytest.skip(NO_DISPATCHER)
    with libxdp_lock():
        take_the_uplink_anew(bed)
        check_is_served(daemon)
        assert daemon.port("va")["doing"] == "attaching"
    wait_for(lambda: daemon.port("va")["running"], "the uplink is used again")
    with libxdp_lock():
        daemon.stop(log_ends=False)
    check_that_the_doorman_ends_it(bed, daemon)


@pytest.mark.kernels
def test_a_program_that_stays_in_spite_of_the_doorman_is_told_of(bed):
    daemon = bed.start()
    if daemon.port("va")["attached"] != "dispatcher":
        pytest.skip(NO_DISPATCHER)
    with libxdp_lock():
        daemon.stop(log_ends=False)
        daemon.reader.join()  # the doorman has given up
        assert not glob.glob(f"{RUN_DIR}/{bed.name}.*")
        assert f"warning: XDP programs of {bed.name} stay" in daemon.text()
    daemon.cli("detach", "va", named=False)


@pytest.mark.vm
@pytest.mark.kernels
def test_sigterm_ends_a_start_that_waits_for_libxdps_lock(bed):
    daemon = bed.start()
    if daemon.port("va")["attached"] != "dispatcher":
        pytest.skip(NO_DISPATCHER)
    daemon.stop()
    with libxdp_lock():
        daemon = bed.start(ready=False)
        wait_for(lambda: waits_for_a_lock(daemon), "the program is being attached")
        daemon.stop()


# ---- memory ----

FRAMES = 200000
FRAME_KB = 4


def memory_kb(daemon):
    """The most that it has had so far, or None where it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{daemon.pid}/status") as file:
        found = re.search(r"^VmHWM:\s+(\d+)", file.read(), re.MULTILINE)
        return found and int(found[1])
    return None


def test_sigterm_ends_a_start_that_is_getting_its_memory(bed):
    """The kernel clears it piece by piece, so that the rest is never asked for."""
    daemon = bed.start("--frames", str(FRAMES), ready=False)
    wait_for(lambda: (memory_kb(daemon) or 0) > FRAMES * FRAME_KB // 20, "it has a twentieth of it", pause=0)
    daemon.kill(signal.SIGTERM)
    most = 0
    while (now := memory_kb(daemon)) is not None:
        most = max(most, now)
    assert daemon.wait_exit() == 0
    assert most < FRAMES * FRAME_KB // 2


# ---- the log ----

def read_until(log, what, said=b""):
    """Reads on, after what was read before."""
    while what not in said:
        more = log.read(4096)
        assert more, f"it ended before it said {what}: {said}"
        said += more
    return said


def fill(pipe):
    """Writes into a pipe until it is full."""
    fd = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(fd, b"-")
    os.close(fd)


def test_a_log_that_nobody_reads_holds_up_nobody(bed):
    """Standard error is a pipe that is full. What was lost is counted once there is room again."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    daemon = bed.start(wrap=["bash", "-c", f'exec "$@" 2>&{writer}', "bash"], fds=[writer], ready=False)
    with os.fdopen(reader, "rb", buffering=0) as log:
        # not by its log: of lines that come faster than they are read, such a pipe keeps the first
        wait_for(lambda: daemon.cli("status", check=False).returncode == 0 and daemon.port("va")["running"], "it runs")
        fill(writer)
        bed.host.ip("link set va mtu 1400")
        wait_for(lambda: daemon.port("va")["mtu"] == 1400 and not daemon.port("va")["doing"], "it is taken anew")
        check_answers(daemon)
        os.close(writer)
        said = log.read(4096)  # there is room now, and perhaps the daemon has something to say at once
        bed.host.ip("link set va mtu 1500")
        read_until(log, b" are lost: nobody has read it", said)
        daemon.stop()


# ---- queues ----

@pytest.mark.vm
def test_a_queue_that_never_empties_holds_up_nobody(bed):
    daemon = bed.start("--queues", "2", "--workers", "1", *NO_STALL)
    with held_thread(daemon, "xb-worker-0"):
        change = Task(daemon.ask, "port", "set", "kernel", "--queues", "1")
        wait_for(lambda: daemon.port("kernel")["doing"], "the change is under way")
        check_answers(daemon)
        assert change.is_alive()
    change.join()
    assert daemon.port("kernel")["queues"] == 1
    assert daemon.port("kernel")["doing"] is None
    assert answers(bed.peer, TAP_IP)


def test_a_client_that_waits_is_told_that_the_daemon_ends(bed):
    daemon = bed.start("--queues", "2", "--workers", "1", *NO_STALL)
    with held_thread(daemon, "xb-worker-0"):
        change = Task(daemon.ask, "port", "set", "kernel", "--queues", "1")
        wait_for(lambda: daemon.port("kernel")["doing"], "the change is under way")
        daemon.kill(signal.SIGTERM)
        with pytest.raises(AssertionError, match="xbridge is stopping"):
            change.join()
        wait_for(lambda: not os.path.exists(f"/proc/{daemon.pid}/fd/0"), "it ends", 2)
    assert daemon.wait_exit() == 0
    wait_for(lambda: not bed.kern.link("tap0"), "the kernel has let go of tap0")


def test_a_client_that_hangs_up_leaves_its_change_under_way(bed):
    daemon = bed.start("--queues", "2", "--workers", "1", *NO_STALL)
    with held_thread(daemon, "xb-worker-0"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"{RUN_DIR}/{daemon.name}.sock")
            sock.sendall(b'{"argv": ["port", "set", "kernel", "--queues", "1"]}\n')
            wait_for(lambda: daemon.port("kernel")["doing"], "the change is under way")
        check_answers(daemon)
    wait_for(lambda: daemon.port("kernel")["queues"] == 1 and not daemon.port("kernel")["doing"], "it is done")


def test_changes_that_come_together_are_done_one_after_another(bed):
    daemon = bed.start("--queues", "2")
    for _ in range(3):
        changes = [Task(daemon.ask, "port", "set", "kernel", "--queues", str(queues)) for queues in (1, 3, 2, 4)]
        rules = [Task(daemon.ask, "steer", "load", "proto udp to kernel\n") for _ in range(4)]
        for task in changes + rules:
            task.join()
        assert daemon.port("kernel")["queues"] in (1, 2, 3, 4)
        assert daemon.port("kernel")["doing"] is None
        assert answers(bed.peer, TAP_IP)
    daemon.rest()


def test_sigterm_ends_it_within_a_second_while_a_worker_stands_still(bed):
    daemon = bed.start("--queues", "2", "--workers", "1", *NO_STALL)
    with held_thread(daemon, "xb-worker-0"):
        daemon.kill(signal.SIGTERM)
        began = time.monotonic()
        wait_for(lambda: not os.path.exists(f"/proc/{daemon.pid}/fd/0"), "it ends", 2)
        assert time.monotonic() - began < 1 * PATIENCE
    assert daemon.wait_exit() == 0
    wait_for(lambda: not bed.kern.link("tap0"), "the kernel has let go of tap0")
