# SPDX-License-Identifier: BSD-2-Clause
"""The control socket and its clients, good and bad; the configuration file."""

import contextlib
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

import pytest

from load import Wire, answers
from xbridge import PATIENCE, RUN_DIR, TAP_IP, binary, scaled, wait_for

LINE_MAX, CLIENTS_MAX, IDLE_S = 2 << 20, 64, 10  # include/xbridge/control.h


@pytest.fixture
def bed(make_bed):
    return make_bed()


@pytest.fixture
def daemon(bed):
    return bed.start()


class Client:
    """A raw connection to the control socket."""

    def __init__(self, daemon):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(f"{RUN_DIR}/{daemon.name}.sock")
        self.sock.settimeout(5 * PATIENCE)
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def send(self, data):
        """False where the daemon has hung up meanwhile."""
        try:
            self.sock.sendall(data)
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def reply(self):
        """The next reply; None: hung up."""
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, *words):
        assert self.send(json.dumps({"argv": words}).encode() + b"\n")
        return self.reply()


def assert_refused(reply, exit_status, *words):
    assert reply["ok"] is False and reply["exit"] == exit_status
    assert all(word in reply["error"] for word in words), reply["error"]


def hung_up(client):
    """Waits for it; with what was sent and not read the connection is reset."""
    try:
        return client.reply() is None
    except ConnectionResetError:
        return True


def assert_well(daemon):
    assert daemon.status()["name"] == daemon.name
    assert answers(daemon.bed.peer, TAP_IP)


# ---- what a client may do to it (HOSTILE.md, row 22) ----

def test_socket_is_for_its_owner_alone(daemon):
    assert os.stat(f"{RUN_DIR}/{daemon.name}.sock").st_mode & 0o777 == 0o600


def test_line_in_pieces_is_put_together(daemon):
    with Client(daemon) as client:
        for piece in (b'{"ar', b'gv": ["sta', b'tus"]}', b"\n"):
            client.send(piece)
            daemon.ask("status")  # answered: so the piece was read
        assert client.reply()["ok"]


def test_several_requests_on_one_connection_are_answered_in_turn(daemon):
    with Client(daemon) as client:
        client.send(b'{"argv": ["status"]}\n{"argv": ["nonsense"]}\n{"argv": ["fdb", "list"]}\n')
        assert "workers" in client.reply()["result"]
        assert_refused(client.reply(), 2, "nonsense")
        assert "fdb" in client.reply()["result"]


NO_REQUESTS = [
    b"\xff\xfe\n", b'{"argv": ["\xc3\x28"]}\n', b"\0\n",  # no UTF-8, no text
    b"\n", b"{}\n", b"[]\n", b"null\n",  # no argv
    b'{"argv": []}\n', b'{"argv": [1]}\n', b'{"argv": "status"}\n', b'{"argv": [null]}\n',
    b'{"argv": ["status"]} {"argv": ["status"]}\n', b'{"argv": ["status"\n',  # more, or less, than one document
    b"[" * 60000 + b"\n", b'{"argv": [' + b'"a",' * 300 + b'"a"]}\n',  # too deep, too many
    b'{"argv": ["status", "' + b"x" * 60000 + b'"]}\n', b'{"argv": ["st\\u0000atus"]}\n',
]


@pytest.mark.parametrize("line", NO_REQUESTS, ids=lambda line: repr(line[:24]))
def test_request_that_is_none_is_answered_with_an_error_and_the_connection_stays(daemon, line):
    with Client(daemon) as client:
        assert client.send(line)
        assert_refused(client.reply(), 2)
        assert client.ask("status")["ok"]


def test_line_of_three_megabytes_is_refused_and_hung_up_on(daemon):
    with Client(daemon) as client:
        client.send(b"x" * (3 << 20))
        assert_refused(client.reply(), 2, f"longer than {LINE_MAX} bytes")
        assert hung_up(client)
    assert_well(daemon)


def test_line_of_exactly_the_limit_is_read(daemon):
    request = b'{"argv": ["status"]}'
    with Client(daemon) as client:
        client.send(request + b" " * (LINE_MAX - 1 - len(request)) + b"\n")
        assert client.reply()["ok"]


def test_client_with_words_without_end_is_told_so_by_the_command(daemon, tmp_path):
    file = tmp_path / "rules"
    file.write_text("# nothing\n" * (LINE_MAX // 8))
    done = daemon.cli("steer", "load", str(file), check=False)
    assert done.returncode == 2
    assert f"longer than {LINE_MAX} bytes" in done.stderr


def test_thousand_clients_are_no_trouble_and_those_beyond_the_limit_are_told(daemon):
    clients, told = [], 0
    try:
        for _ in range(1000):
            clients.append(Client(daemon))
            ready = select.select([clients[-1].sock], [], [], 0)[0]
            if len(clients) > CLIENTS_MAX or ready:
                assert_refused(clients[-1].reply(), 1, "64 clients are connected")
                told += 1
        assert told == 1000 - CLIENTS_MAX
        assert all(client.ask("status")["ok"] for client in clients[:CLIENTS_MAX])
        assert answers(daemon.bed.peer, TAP_IP)
        done = daemon.cli("status", check=False)
        assert done.returncode == 1 and "64 clients are connected" in done.stderr
    finally:
        for client in clients:
            client.__exit__()
    wait_for(lambda: daemon.cli("status", check=False).returncode == 0, "there is room again")


def test_client_that_hangs_up_at_any_moment_is_forgotten(daemon):
    fds = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    for i in range(scaled(200, 50)):
        with Client(daemon) as client:
            client.send(b'{"argv": ["stats"]}\n' * (i % 3) + b"{"[:i % 2])
    wait_for(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) == fds, "no descriptor leaks")


def test_silent_client_is_told_and_one_that_reads_nothing_hung_up_on_and_they_hold_nobody_up(daemon):
    with Client(daemon) as silent, Client(daemon) as partial, Client(daemon) as done, Client(daemon) as deaf:
        partial.send(b'{"argv": ["sta')
        assert done.ask("status")["ok"]
        deaf.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                deaf.sock.send(b'{"argv": ["status"]}\n' * 100)
        began = time.monotonic()
        while time.monotonic() < began + 1:  # meanwhile others are served
            assert daemon.status()["name"] == daemon.name
        for client in (silent, partial, done):
            client.sock.settimeout((IDLE_S + 4) * PATIENCE)
            assert_refused(client.reply(), 2, f"no complete request within {IDLE_S} s")
            assert hung_up(client)
        wait_for(lambda: not deaf.send(b"x"), "the deaf one is hung up on", IDLE_S + 4)
        assert time.monotonic() - began > IDLE_S - 2
    assert_well(daemon)


def test_flood_of_requests_does_not_hold_the_packets_up(daemon):
    done = subprocess.Popen(daemon.bed.in_host("/usr/bin/python3", "-c", f"""
import socket
sock = socket.socket(socket.AF_UNIX)
sock.connect("{RUN_DIR}/{daemon.name}.sock")
file = sock.makefile()
print("ready", flush=True)
while True:
    sock.sendall(b'{{"argv": ["stats"]}}\\n')
    file.readline()
"""), stdout=subprocess.PIPE, env=daemon.bed.env)
    try:
        assert done.stdout.readline() == b"ready\n"
        ping = daemon.bed.peer.run("ping", "-n", "-c", "50", "-i", "0.01", "-q", TAP_IP)
        assert " 0% packet loss" in ping.stdout
    finally:
        done.kill()
        done.wait()
        done.stdout.close()


# ---- which instance ----

@pytest.fixture
def run_dir():
    """A /run/xbridge of our own; the words before a command that is to see it."""
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                               f"mkdir -p {RUN_DIR} && mount -t tmpfs tmpfs {RUN_DIR} && echo ready && exec cat"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"ready\n"
    yield ["nsenter", f"--target={holder.pid}", "--mount"]
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()


def test_the_only_instance_is_found_without_its_name_and_several_are_told(make_bed, run_dir):
    beds = [make_bed(uplinks=0, tap_in_host=True) for _ in range(2)]

    def ask(*words):
        return beds[0].host.run(*run_dir, binary(), *words, check=False)

    def name(*words):
        done = ask("status", "-j", *words)
        assert done.returncode == 0, done
        return json.loads(done.stdout)["name"]
    done = ask("status")
    assert done.returncode == 1 and "no instance is running" in done.stderr
    assert json.loads(ask("instances", "-j").stdout) == {"instances": []} and ask("instances").stdout == ""
    done = ask("status", "--name", beds[0].name)
    assert done.returncode == 1 and f"no instance named '{beds[0].name}' is running" in done.stderr

    first = beds[0].start(uplinks=[], wrap=run_dir)
    assert name() == first.name
    second = beds[1].start(uplinks=[], wrap=run_dir)
    done = ask("status")
    assert done.returncode == 1 and "several instances are running; choose one with --name" in done.stderr
    for daemon in (first, second):
        assert name(f"--name={daemon.name}") == daemon.name
    listed = {row["name"]: row for row in json.loads(ask("instances", "-j").stdout)["instances"]}
    assert listed.keys() == {first.name, second.name} and all(row["answers"] for row in listed.values())
    assert listed[second.name]["pid"] == second.pid and listed[second.name]["ports"] == ["tap0"]
    text = ask("instances").stdout
    assert all(re.search(rf"^{d.name} +{d.pid} +tap0$", text, re.MULTILINE) for d in (first, second)), text
    second.kill()  # its socket stays, but nobody is behind it
    second.wait_exit()
    assert name() == first.name


@contextlib.contextmanager
def impostor(name):
    """A server at an instance's socket."""
    path = f"{RUN_DIR}/{name}.sock"
    os.makedirs(RUN_DIR, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(5 * PATIENCE)
        server.bind(path)
        server.listen()
        try:
            yield server
        finally:
            os.unlink(path)
            with contextlib.suppress(OSError):
                os.rmdir(RUN_DIR)  # as the last instance does


@pytest.mark.parametrize("answer, complaint", [
    (b"", "hung up without an answer"),
    (b'{"ok":true,', "hung up without an answer"),
    (b"HTTP/1.1 400 Bad Request\r\n", "answer can't be understood"),
    (b"220 ready\n", "answer can't be understood"),
    (b"null\n", "answer can't be understood"),
    (b'{"ok":false}\n', "answer can't be understood"),
])
def test_an_instance_that_does_not_answer_is_told_from_one_that_is_late(bed, answer, complaint):
    """In its place a server that reads the request, says `answer` and hangs up."""
    with impostor(bed.name) as server:
        client = subprocess.Popen([binary(), "status", "--name", bed.name], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        peer, _ = server.accept()
        with peer, peer.makefile("rb") as request:
            assert json.loads(request.readline()) == {"argv": ["status"]}
            peer.sendall(answer)
        out, why = client.communicate(timeout=5 * PATIENCE)
    assert client.returncode == 1 and not out and complaint in why, (out, why)


def test_stalled_instance_is_told_from_one_that_is_gone_within_the_deadline(daemon):
    daemon.kill(signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = daemon.cli("status", check=False)
        took = time.monotonic() - began
        listed = json.loads(daemon.cli("instances", "-j").stdout)["instances"]
        seen = json.loads(daemon.cli("doctor", "-j", named=False, check=False).stdout)["findings"]
    finally:
        daemon.kill(signal.SIGCONT)
    assert (done.returncode, done.stdout) == (1, "") and 5 <= took < 8 * PATIENCE, (took, done)
    stopped = f"its process {daemon.pid} is stopped, by a signal or a debugger"
    assert f"did not answer within 5 s; stalled? {stopped} (kill -CONT {daemon.pid})" in done.stderr
    assert [(row["name"], row["answers"], row["trouble"]) for row in listed] == [(daemon.name, False, stopped)]
    finding = next(found for found in seen if found["check"] == "instances" and daemon.name in found["text"])
    assert finding["state"] == "warn" and stopped in finding["text"] and finding["remedy"] == f"kill -CONT {daemon.pid}"
    assert daemon.cli("status").returncode == 0


def test_instance_whose_queue_of_clients_is_full_does_not_hang_the_next_one(bed):
    with impostor(bed.name) as server, contextlib.ExitStack() as clients:
        server.listen(0)
        for _ in range(2):  # one is in line, and one more than the length of the queue
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(f"{RUN_DIR}/{bed.name}.sock")
        done = subprocess.run([binary(), "status", "--name", bed.name], capture_output=True, text=True, check=False,
                              timeout=20 * PATIENCE)
    assert done.returncode == 1 and "did not answer within 5 s; stalled?" in done.stderr, done


def test_instance_that_is_busy_with_the_command_and_serves_others_is_waited_for(bed):
    with impostor(bed.name) as server:
        client = subprocess.Popen([binary(), "status", "--json", "--name", bed.name], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        busy, _ = server.accept()
        server.settimeout(20 * PATIENCE)
        probe, _ = server.accept()  # comes after 5 s
        with busy, probe:
            assert json.loads(probe.makefile("rb").readline()) == {"argv": ["status"]}
            probe.sendall(b'{"ok":true,"result":{}}\n')
            busy.sendall(b'{"ok":true,"result":{"late":true}}\n')
            out, why = client.communicate(timeout=5 * PATIENCE)
    assert client.returncode == 0 and json.loads(out) == {"late": True}, why


# ---- what it answers: these names are an interface ----

PORT_FIELDS = {"name", "type", "mac", "running", "up", "queues", "queues_max", "takes", "mtu", "learn_max", "storm_pps"}
KERNEL_FIELDS = PORT_FIELDS | {"alias", "backend", "why", "queue_size", "persist", "netns"}
UPLINK_FIELDS = PORT_FIELDS | {"rx_queues", "shared", "shared_reason", "xdp", "attached", "mode", "tx", "tx_why", "csum",
                                 "troubles", "lost"}
STATS_FIELDS = {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "rx_missed", "drops"}


def test_status_has_its_fields(daemon):
    status = json.loads(daemon.cli("status", "--json").stdout)
    assert {"name", "version", "pid", "uptime_s", "default", "stall_ms", "arena", "workers", "ports"} <= status.keys()
    assert status["pid"] == daemon.pid
    kernel, uplink = status["ports"]
    assert KERNEL_FIELDS <= kernel.keys() and UPLINK_FIELDS <= uplink.keys()
    assert kernel["alias"] == "kernel" and uplink["name"] == "va"
    assert json.loads(daemon.cli("port", "list", "-j").stdout)["ports"] == status["ports"]


def test_stats_have_their_fields(daemon):
    stats = json.loads(daemon.cli("stats", "--json").stdout)
    assert {"copies", "segments_added", "frames_joined", "in_flight"} <= stats.keys()
    assert stats["ports"].keys() == {"tap0", "va"}
    for port in stats["ports"].values():
        assert STATS_FIELDS <= port.keys()
        assert {"port_down", "tx_full", "hairpin", "smac_taken"} <= port["drops"].keys()
    assert {"redirect", "pass_own", "pass_stall", "drop"} <= stats["ports"]["va"]["xdp"].keys()


@pytest.mark.parametrize("words", [["status"], ["stats"], ["port", "list"], ["fdb", "list"]], ids=" ".join)
def test_text_is_for_people(daemon, words):
    text = daemon.cli(*words).stdout
    assert "tap0" in text and "va" in text and "{" not in text


def test_fdb_lists_adds_deletes_and_flushes(bed, daemon):
    assert answers(bed.peer, TAP_IP)
    rows = {row["mac"]: row for row in json.loads(daemon.cli("fdb", "list", "--json").stdout)["fdb"]}
    assert rows[bed.peer.mac("vp")]["kind"] == "learned" and rows[bed.peer.mac("vp")]["port"] == "va"
    assert rows[bed.kern.mac("tap0")] == {"mac": bed.kern.mac("tap0"), "vlan": "any", "domain": "", "port": "tap0", "kind": "own"}
    daemon.cli("fdb", "add", "02:00:00:00:00:99", "port", "va", "vlan", "7")
    assert {"mac": "02:00:00:00:00:99", "vlan": 7, "domain": "", "port": "va", "kind": "static"} in daemon.fdb()
    daemon.cli("fdb", "del", "02:00:00:00:00:99", "vlan", "7")
    daemon.cli("fdb", "flush", "va")
    assert [row["kind"] for row in daemon.fdb()] == ["own", "own"]


WRONG_USAGE = [
    ("frobnicate", "there is no command 'frobnicate'"), ("status now", "status: unexpected 'now'; usage: xbridge status"),
    ("port", "port: a second word is missing; `xbridge help port`"), ("port frob", "no command 'port frob'"),
    ("port set", "something is missing; usage: xbridge port set NAME"), ("port set tap0", "nothing to change"),
    ("port set tap0 --queues 0", "--queues '0': a number from 1 to 64"), ("port set tap0 --queues x", "a number from 1"),
    ("port set tap0 --colour 2", "port set has no option '--colour'"), ("port set tap0 --queues 9999", "a number from 1"),
    ("port set tap0 --storm -1", "--storm '-1': a number from 0"), ("port set tap0 --queues", "--queues needs a value: N"),
    ("fdb add 02:00:00:00:00:99", "a port is missing"), ("fdb add zz port va", "'zz': a MAC address like"),
    ("fdb add 03:00:00:00:00:99 port va", "group address"), ("fdb add 02:00:00:00:00:99 port va vlan 4095", "vlan '4095'"),
    ("fdb del 02:00:00:00:00:99 vlan", "'port NAME' or 'vlan ID' is expected after"), ("detach", "usage: xbridge detach IFACE"),
    ("stats --color", "stats has no option '--color'"), ("status --watch", "status has no option '--watch'"),
    ("steer add proto tpc to drop", "'tpc': "), ("steer del x", "'x': a rule's number"), ("steer default drop now", "VERDICT"),
    ("steer load", "FILE|-"), ("steer load a b", "unexpected 'b'"), ("steer load - --confirm 0", "--confirm '0'"),
    ("explain", "usage: xbridge explain [in NAME] MATCH"), ("explain proto tpc", "'tpc'"), ("capture --snap 0", "--snap '0'"),
    ("capture -w", "-w needs a value: FILE|-"), ("capture va tap0", "unexpected 'tap0'"), ("doctor a b", "unexpected 'b'"),
    ("port set tap0 --queues 2 --storm 1 --queues 3", "--queues is given twice"), ("capture --drops --drops", "--drops is given"),
    ("fdb del 02:00:00:00:00:99 vlan 1 vlan 2", "vlan is given twice"), ("instances now", "unexpected 'now'"), ("status --name", "--name needs a value")]


@pytest.mark.parametrize("words, text", WRONG_USAGE)
def test_wrong_usage_is_told_without_an_instance_with_what_is_expected(words, text):
    done = subprocess.run([binary(), *words.split()], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert text in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words, text", [
    ("port set nobody --queues 2", "there is no port 'nobody'; "), ("port set va --queues 2", "ethtool -L va"),
    ("fdb add 02:00:00:00:00:99 port nobody", "nobody"), ("fdb del 02:00:00:00:00:99", "there is no entry for 02:00:00:00:00:99 in VLAN 0; "),
    ("fdb flush nobody", "nobody"), ("detach lo", "no program of xbridge"), ("detach nowhere", "nowhere")])
def test_command_that_fails_is_told_what_is_wrong(daemon, words, text):
    done = daemon.cli(*words.split(), check=False)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert text in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words, status", [("frobnicate", 2), ("port set nobody --queues 2", 1), ("explain in nobody vlan 1", 1),
                                           ("detach lo", 1), ("steer load /nonexistent", 1), ("capture nobody", 1)])
def test_with_json_a_failure_is_a_document(daemon, words, status):
    done = daemon.cli(*words.split(), "--json", check=False)
    assert (done.returncode, done.stderr) == (status, ""), done
    failure = json.loads(done.stdout)
    assert failure["exit"] == status and failure["error"], failure


def test_detach_refuses_the_interface_of_a_running_instance(daemon):
    done = daemon.cli("detach", "va", named=False, check=False)
    assert done.returncode == 1
    assert daemon.name in done.stderr and "stop" in done.stderr
    assert_well(daemon)


@pytest.mark.kernels
def test_port_set_changes_the_queues_of_tap0(bed, daemon):
    daemon.cli("port", "set", "kernel", "--queues", "3")
    assert daemon.port("tap0")["queues"] == 3
    assert answers(bed.peer, TAP_IP)
    daemon.cli("port", "set", "tap0", "--queues", "1")
    assert daemon.port("tap0")["queues"] == 1
    assert answers(bed.peer, TAP_IP)


# whose frames come in where; what comes from the kernel comes by another backend in a VM
PORTS = ["va", pytest.param("tap0", marks=pytest.mark.kernels)]


def flood_senders(bed, port, n):
    """A frame from each of n senders, no more at once than a TAP's queue holds beside what else comes."""
    with Wire(bed.kern, "tap0") if port == "tap0" else Wire(bed.peer, "vp") as wire:
        for i in range(n):
            wire.send(b"\xff" * 6 + b"\x02\x11" + i.to_bytes(4, "big") + b"\x88\xb5" + bytes(46))
            if i % 500 == 499:
                bed.daemon.rest()


@pytest.mark.parametrize("name", PORTS)
def test_learning_limit_of_a_port_holds_and_is_counted(bed, daemon, name):
    assert answers(bed.peer, TAP_IP)
    daemon.cli("port", "set", name, "--learn-max", "100")
    assert daemon.port(name)["learn_max"] == 100
    other = "tap0" if name == "va" else "va"
    before = daemon.stats()["ports"][other]["learned"]
    flood_senders(bed, name, 1000)
    ports = daemon.rest()["ports"]
    assert ports[name]["learned"] == 100
    assert ports[name]["learned"] + ports[name]["learn_refused"] >= 1000
    assert (ports[other]["learned"], ports[other]["learn_refused"]) == (before, 0)
    assert len([row for row in daemon.fdb() if row["port"] == name and row["kind"] == "learned"]) == 100
    assert {row["mac"]: row["kind"] for row in daemon.fdb()}[bed.kern.mac("tap0")] == "own"
    assert answers(bed.peer, TAP_IP)


@pytest.mark.parametrize("name", PORTS)
def test_flood_of_senders_stays_within_the_default_limit(bed, daemon, name):
    n = scaled(20000, 6000)
    flood_senders(bed, name, n)
    port = daemon.rest()["ports"][name]
    assert port["learned"] <= 4096
    assert port["learn_refused"] > 0
    assert answers(bed.peer, TAP_IP)
    daemon.cli("fdb", "flush", name)
    assert answers(bed.peer, TAP_IP)


# ---- what is logged ----

@pytest.mark.parametrize("words, note", [
    ("steer add prio 7 proto icmp to drop", ", id 1: 1 rules, default bridge"), ("steer replace 1 to pass", ": 1 rules, default bridge"),
    ("steer default drop", ": 1 rules, default drop"), ("steer del 1", ": 0 rules, default drop"), ("steer flush", ": 0 rules, default drop"),
    ("port set va --storm 500 --learn-max 10", ""), ("port set tap0 --queues 2", ""), ("fdb add 02:00:00:00:00:99 port va", ""),
    ("fdb del 02:00:00:00:00:99", ""), ("fdb flush", ""), ("stats reset", "")])
def test_each_change_by_a_client_is_logged_once_in_its_words(changed_by_commands, words, note):
    daemon = changed_by_commands
    since = len(daemon.log)
    daemon.cli(*words.split())
    daemon.wait_log(f"^xbridge: by command: {words}{note}$", since=since)
    assert sum("by command" in line for line in daemon.log[since:]) == 1


@pytest.fixture(scope="module")
def changed_by_commands(make_module_bed):
    return make_module_bed(queues=2, quiet=True).start()


def test_what_changes_nothing_is_not_logged_as_a_change_and_a_loaded_text_is_not_repeated(changed_by_commands):
    daemon = changed_by_commands
    since = len(daemon.log)
    for words in ("status", "stats", "port list", "fdb list", "steer list", "steer default"):
        daemon.ask(*words.split())
    assert daemon.cli("steer", "del", "4711", check=False).returncode == 1
    daemon.ask("steer", "load", "to drop\ndefault pass\n")
    daemon.wait_log("^xbridge: by command: steer load: 1 rules, default pass$", since=since)
    assert sum("by command" in line for line in daemon.log[since:]) == 1


# ---- --config and SIGHUP ----

@pytest.fixture
def configured(bed, tmp_path):
    """A daemon that reads its options from a file; the file."""
    path = tmp_path / "xbridge.conf"
    path.write_text("# the kernel's side\nqueues 2\n\n  mtu 1400  # smaller\n")
    daemon = bed.start("--config", str(path))
    return daemon, path


def reload(daemon, path, text):
    since = len(daemon.log)
    path.write_text(text)
    daemon.kill(signal.SIGHUP)
    daemon.wait_log(r"read .* again|nothing was changed", since=since)
    return "\n".join(daemon.log[since:])


def test_file_has_the_options_and_the_command_line_overrides_it(bed, tmp_path):
    path = tmp_path / "xbridge.conf"
    path.write_text("queues 2\nmtu 1400\nmac 02:00:00:00:00:55\n")
    daemon = bed.start("--config", str(path), "--mtu", "1300")
    port = daemon.port("tap0")
    assert (port["queues"], port["mtu"], port["mac"]) == (2, 1300, "02:00:00:00:00:55")


@pytest.mark.kernels
def test_sighup_applies_the_difference(bed, configured):
    daemon, path = configured
    mac = bed.kern.mac("tap0")
    said = reload(daemon, path, "queues 3\nmtu 1450\nmac 02:00:00:00:00:66\ndefault kernel\n")
    assert "restart" not in said and "error" not in said, said
    wait_for(lambda: daemon.port("tap0")["mtu"] == 1450, "the MTU")
    status = daemon.status()
    port = daemon.port("tap0")
    assert (port["queues"], port["mac"], status["default"]) == (3, "02:00:00:00:00:66", "tap0")
    link = bed.kern.link("tap0")
    assert (link["mtu"], link["address"]) == (1450, "02:00:00:00:00:66")
    assert ("02:00:00:00:00:66", "own") in {(row["mac"], row["kind"]) for row in daemon.fdb()}
    reload(daemon, path, "")
    wait_for(lambda: daemon.port("tap0")["mtu"] == 1500, "the uplink's MTU")
    port = daemon.port("tap0")
    assert (port["queues"], port["mac"], daemon.status()["default"]) == (1, mac, "bridge")
    bed.peer.ip("neigh flush dev vp")
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    daemon.rest()


def test_mtu_that_is_no_longer_in_the_file_is_the_uplinks_as_at_a_start(bed, tmp_path):
    path = tmp_path / "xbridge.conf"
    for ns, ifname in (bed.host, "va"), (bed.peer, "vp"):
        ns.ip(f"link set {ifname} mtu 9000")
    path.write_text("")
    daemon = bed.start("--config", str(path), uplinks=["va,dedicated,xdp=generic"])
    lent = daemon.port("tap0")["mtu"]
    assert 1500 < lent < 9000, "as much as a frame holds"
    reload(daemon, path, "mtu 1400\n")
    wait_for(lambda: daemon.port("tap0")["mtu"] == 1400, "the file's MTU")
    reload(daemon, path, "")
    wait_for(lambda: daemon.port("tap0")["mtu"] == lent, "the uplink's MTU, as far as a frame holds it")
    assert bed.kern.link("tap0")["mtu"] == lent


def test_sighup_leaves_what_commands_have_changed_and_the_file_has_not(configured):
    daemon, path = configured
    text = "queues 2\nmtu 1400\ndefault kernel\n"
    reload(daemon, path, text)
    daemon.cli("port", "set", "kernel", "--queues", "3")
    daemon.cli("steer", "default", "drop")
    for change in "", "mtu 1450\n":
        reload(daemon, path, text + change)
        assert (daemon.port("tap0")["queues"], daemon.status()["default"]) == (3, "drop")
    reload(daemon, path, "queues 4\ndefault va\n")
    assert (daemon.port("tap0")["queues"], daemon.status()["default"]) == (4, "va")


def test_sighup_applies_mac_uplink_and_takes_it_back(bed, configured):
    daemon, path = configured
    mac, lent = bed.kern.mac("tap0"), bed.host.mac("va")
    text = "queues 2\nmtu 1400\n"
    for change, wanted in (("mac uplink\n", lent), ("mac 02:00:00:00:00:66\n", "02:00:00:00:00:66"), ("mac uplink\n", lent), ("", mac)):
        said = reload(daemon, path, text + change)
        assert "restart" not in said and "error" not in said, said
        assert bed.kern.mac("tap0") == daemon.port("tap0")["mac"] == wanted
        assert ("has the address of uplink va: frames to it go to" in said) == (wanted == lent), said
        bed.peer.ip("neigh flush dev vp")
        wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
        if wanted == lent:  # and follows it
            bed.host.ip("link set va address 02:00:00:00:00:77")
            wait_for(lambda: bed.kern.mac("tap0") == "02:00:00:00:00:77", "tap0 follows the uplink's address")
            bed.host.ip(f"link set va address {lent}")
            wait_for(lambda: bed.kern.mac("tap0") == lent, "and back")
    daemon.rest()


def test_sighup_refuses_mac_uplink_where_the_uplink_is_shared(bed, tmp_path):
    path = tmp_path / "xbridge.conf"
    path.write_text("")
    daemon = bed.start("--config", str(path), uplinks=["va,shared"])
    mac = bed.kern.mac("tap0")
    said = reload(daemon, path, "mac uplink\n")
    assert re.search("error: the file's mac is not applied: mac uplink: va is shared .*va,dedicated lets the address move", said), said
    assert bed.kern.mac("tap0") == mac


def test_sighup_names_what_takes_a_restart_and_changes_it_not(configured):
    daemon, path = configured
    before = daemon.status()
    said = reload(daemon, path, "queues 2\nmtu 1400\n"
                                "workers 2\nstall-ms 500\npersist\ncpus 0\nqueue-size 512\nuplink vx\n")
    for option in ("workers", "stall-ms", "persist", "cpus", "queue-size", "uplink"):
        assert f"warning: {option} has changed in the file: it takes a restart" in said
    moving = ("workers", "uptime_s", "arena", "memory")
    after = daemon.status()
    assert {k: v for k, v in before.items() if k not in moving} == {k: v for k, v in after.items() if k not in moving}


BAD_FILES = [
    ("queues 3\nquueues 4\n", "line 2: .*quueues"),
    ("queues 3\nmtu huge\n", "line 2: .*'huge'"),
    ("queues 3\n\n\nconfig x\n", "line 4: .*config"),
    ("persist yes\n", "line 1: .*takes no value"),
    ("queues\n", "line 1: .*is expected"),
    ("queues 3\nmtu 1\xff\n", "line 2"),
    ("queues 3\n" + "x" * 10000 + "\n", "line 2"),
]


@pytest.mark.parametrize("text, said", BAD_FILES)
def test_bad_file_is_named_with_its_line_and_changes_nothing(bed, configured, text, said):
    daemon, path = configured
    since = len(daemon.log)
    reload(daemon, path, text)
    assert daemon.wait_log(rf"error: {path}, {said}.*nothing was changed", since=since)
    assert daemon.port("tap0")["queues"] == 2
    assert answers(bed.peer, TAP_IP)
    daemon.stop()
    again = bed.start("--config", str(path), ready=False)
    assert again.wait_exit() == 2
    again.wait_log(rf"{path}, {said}")


def test_file_that_is_gone_changes_nothing(configured):
    daemon, path = configured
    path.unlink()
    daemon.kill(signal.SIGHUP)
    daemon.wait_log(rf"error: .*{path}.*nothing was changed")
    assert daemon.port("tap0")["queues"] == 2


def test_file_that_can_not_be_read_changes_nothing(configured):
    daemon, path = configured
    reload(daemon, path, "queues 2\nrule proto tcp to drop\n")
    path.unlink()
    path.mkdir()
    daemon.kill(signal.SIGHUP)
    daemon.wait_log(rf"error: {path}, line 1: Is a directory; nothing was changed")
    assert daemon.port("tap0")["queues"] == 2 and len(daemon.ask("steer", "list")["rules"]) == 1


NOBODY = 65534


def put(path, text):
    """A new file in the place of the old one, as editors make it: another user's, and for nobody else to read."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    os.chown(new, NOBODY, NOBODY)
    new.rename(path)


@pytest.fixture(name="theirs")
def file_of_another_user(bed, tmp_path):
    """A daemon whose file the start could read by its privileges alone; the file."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    put(folder / "xbridge.conf", "queues 2\n")
    return bed.start("--config", str(folder / "xbridge.conf")), folder / "xbridge.conf"


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii")
    except OSError:
        return None  # gone meanwhile


def reader_of(daemon):
    with open(f"/proc/{daemon.pid}/task/{daemon.pid}/children", encoding="ascii") as file:
        pids = [int(pid) for pid in file.read().split()]
    return next((pid for pid in pids if name_of(pid) == "xb-reader\n"), None)


@pytest.mark.kernels
def test_sighup_reads_what_the_start_could_read_by_privileges_given_up_since(theirs):
    daemon, path = theirs
    for number in range(3):
        since = len(daemon.log)
        put(path, f"queues 2\nmtu {1300 + number}\nrule proto udp dport {number} to drop\n")
        daemon.kill(signal.SIGHUP)
        daemon.wait_log(f"read {path} again", since=since)
        assert daemon.port("tap0")["mtu"] == 1300 + number
        assert len(daemon.ask("steer", "list")["rules"]) == 1
    with open(f"/proc/{reader_of(daemon)}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 2, "CAP_DAC_READ_SEARCH alone"
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert sorted(os.listdir(f"/proc/{reader_of(daemon)}/fd"), key=int) == ["0", "1", "2", "3"]


def test_a_reader_that_takes_too_long_is_told_and_keeps_nobody_waiting(theirs):
    daemon, path = theirs
    reader = reader_of(daemon)
    os.kill(reader, signal.SIGSTOP)
    put(path, "queues 2\nmtu 1301\n")
    daemon.kill(signal.SIGHUP)
    began = time.monotonic()
    assert daemon.port("tap0")["queues"] == 2 and time.monotonic() - began < 2 * PATIENCE
    daemon.wait_log(f"error: open {path}: it takes too long; nothing was changed")
    os.kill(reader, signal.SIGCONT)  # its answer comes too late
    since = len(daemon.log)
    daemon.kill(signal.SIGHUP)
    daemon.wait_log("read .* again", since=since)
    assert daemon.port("tap0")["mtu"] == 1301


def test_without_its_reader_it_says_what_it_may_not_read(theirs):
    daemon, path = theirs
    os.kill(reader_of(daemon), signal.SIGKILL)
    wait_for(lambda: reader_of(daemon) is None, "it is gone")
    daemon.kill(signal.SIGHUP)
    daemon.wait_log(f"error: open {path}: Permission denied; nothing was changed")


def test_a_fifo_in_place_of_the_file_stops_nobody(theirs):
    daemon, path = theirs
    path.unlink()
    os.mkfifo(path)
    daemon.kill(signal.SIGHUP)
    daemon.wait_log("nothing was changed|read .* again")
    assert daemon.port("tap0")["queues"]


def test_sighup_without_a_file_is_said_and_harmless(daemon):
    daemon.kill(signal.SIGHUP)
    daemon.wait_log("SIGHUP: there is no configuration file")
    assert_well(daemon)
