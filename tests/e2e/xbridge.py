# SPDX-License-Identifier: BSD-2-Clause
"""A test bed for the whole daemon: network namespaces, an xbridge between them, and what it says of itself.

      kern                    host                                peer (peer2, …)
    ┌─────────────────┐    ┌──────────────────────────────┐    ┌──────────────────┐
    │ tap0            │    │  xbridge (process)           │    │  vp              │
    │ 192.0.2.1/24  ◄─┼────┼──►  │  ▲                     │    │  192.0.2.2/24    │
    │ 2001:db8::1/64  │    │     ▼  │ AF_XDP              │    │  2001:db8::2/64  │
    │                 │    │  va (vb, …)  ◄─── veth ──────┼────┼─►                │
    └─────────────────┘    └──────────────────────────────┘    └──────────────────┘

`kern` is `host` itself with Bed(tap_in_host=True). Peer i (from 0) is 192.0.2.<i+2> and 2001:db8::<i+2>. The names of
the namespaces carry the bed's own token; the interfaces in them have the short names above.

    def test_ping(make_bed):                      # make_bed: fixture of conftest.py; closes and checks the bed
        bed = make_bed(queues=4)                  # va and vp have 4 queues each way
        daemon = bed.start("--queues", "4")       # xbridge run … --uplink va,dedicated; waits for its `ready`
        bed.peer.run("ping", "-c", "1", TAP_IP)   # a command in a namespace
        with bed.kern:                            # or this thread itself: its new sockets belong there
            sock = socket.socket(…)
        before = daemon.stats()                   # `stats`; status(), fdb(), ask(word, …) likewise
        after = daemon.rest()                     # stats once nothing moves any more; checks the equation
        daemon.stop()                             # SIGTERM; checks exit status 0 and that it was in time

    bed.start("--tap", backend=None, uplinks=[])  # exactly these options
    bed.start(…, ready=False)                     # don't wait: daemon.wait_log(r"regex"), daemon.wait_exit()
    daemon.kill(signal.SIGSTOP)                   # any signal; daemon.pid, daemon.log (lines)
    bed.forgive_leftovers = True                  # a test that leaves pins on purpose removes them itself, or
                                                  # says so: close() removes then what it finds

After each test close() ends the daemon and asserts that nothing was left: process, TAP, XDP program, pins, run files,
namespaces. Nothing here sleeps for a fixed time: wait_for(condition, what).

Environment: XB_BINARY (program under test; default: that of $XB_BUILD_DIR, else the newest build/*), XB_BACKEND (tap or
vhost-net; default: vhost-net where /dev/vhost-net is), XB_SCALE (amount of traffic, 1 natively, 1/16 in a VM), XB_VM_KERNEL
(set in a VM; timeouts are longer there, and with a sanitizer), XB_NICS (set in a VM that has the NICs eth0 and eth1: they are
va and vp then, in place of the veth).
"""

import contextlib
import ctypes
import glob
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IN_VM = "XB_VM_KERNEL" in os.environ
BACKEND = os.environ.get("XB_BACKEND") or ("vhost-net" if os.path.exists("/dev/vhost-net") else "tap")
NICS = ("eth0", "eth1") if os.environ.get("XB_NICS") else None
SCALE = float(os.environ.get("XB_SCALE") or (1 / 16 if IN_VM else 1))

TX_WAYS = ("xdp", "packet")
TX_WAY = None  # how uplinks send of which a test says nothing else; None: xbridge chooses

PIN_ROOT = "/sys/fs/bpf/xbridge"
RUN_DIR = "/run/xbridge"
TAP_IP, TAP_IP6 = "192.0.2.1", "2001:db8::1"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def peer_ip(i=0):
    return f"192.0.2.{i + 2}"


def peer_ip6(i=0):
    return f"2001:db8::{i + 2}"


def binary():
    build = os.environ.get("XB_BUILD_DIR")
    built = glob.glob(os.path.join(ROOT, "build", "*", "src", "cli", "xbridge"))
    path = os.environ.get("XB_BINARY") or (os.path.join(build, "src", "cli", "xbridge") if build else None)
    path = path or max(built, key=os.path.getmtime, default=None)
    assert path and os.path.exists(path), "no xbridge: build it, or say where it is ($XB_BINARY)"
    return os.path.abspath(path)


def asan_options(*options):
    """An assignment for env(1), of options that ASan is to have beside those that it has."""
    return "ASAN_OPTIONS=" + ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), *options]))


def preloaded(library):
    """Words before a program, which then finds a library before all others."""
    return ["env", f"LD_PRELOAD={library}", asan_options("verify_asan_link_order=0")]


SANITIZED = "san/" in binary()
PATIENCE = 10 if IN_VM else 4 if SANITIZED else 1  # factor of all timeouts
REST_S = 0.05 * min(PATIENCE, 4)  # what has not moved for so long is at rest
STOP_S = 8 if IN_VM else 5 if SANITIZED else 1  # longest that a stop takes: a second, but where all is slow


def scaled(amount, least=1):
    """`amount`, made smaller where everything is slow."""
    return max(int(amount * SCALE), least)


def wait_for(condition, what, seconds=10, pause=0.01):
    """Asks again and again until `condition()` is true, and returns what it said. More than a few seconds are for what
    hangs: a machine may be busy."""
    end = time.monotonic() + (seconds * PATIENCE if seconds < 5 else max(seconds * PATIENCE, 60))
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(pause)


class Netns:
    """A network namespace of our own. `with ns:` takes this thread there: sockets that it makes stay there."""

    def __init__(self, name, env):
        self.name, self.env = name, env
        self.path = f"/run/netns/{name}"
        self.back = threading.local()
        subprocess.run(["ip", "netns", "add", name], check=True)

    def __enter__(self):
        stack = self.back.__dict__.setdefault("fds", [])
        stack.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        with open(self.path, "rb") as ns:
            _setns(ns.fileno())
        return self

    def __exit__(self, *_):
        fd = self.back.fds.pop()
        _setns(fd)
        os.close(fd)

    def run(self, *command, check=True, **options):
        """Runs a command here (with /sys of this namespace) and returns its CompletedProcess, output as text."""
        done = subprocess.run(["ip", "netns", "exec", self.name, *command], capture_output=True, text=True,
                              env=self.env, **options)
        assert not check or done.returncode == 0, f"{' '.join(command)} in {self.name}: {done.stdout}{done.stderr}"
        return done

    def ip(self, *lines):
        """Runs `ip` on each of the lines, as one batch."""
        done = subprocess.run(["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines), text=True,
                              capture_output=True, check=False)
        assert done.returncode == 0, f"{lines} in {self.name}: {done.stderr}"

    def link(self, ifname):
        """What `ip -s -d -j link` says of an interface; None where there is none."""
        done = subprocess.run(["ip", "-n", self.name, "-s", "-d", "-j", "link", "show", "dev", ifname],
                              capture_output=True, text=True, check=False)
        return json.loads(done.stdout)[0] if done.returncode == 0 else None

    def counters(self, ifname):
        """The kernel's own counters of an interface: rx_packets, rx_bytes, rx_dropped, tx_…"""
        stats = self.link(ifname)["stats64"]
        return {f"{way}_{name}": n for way in ("rx", "tx") for name, n in stats[way].items()}

    def mac(self, ifname):
        return self.link(ifname)["address"]

    def snmp(self, proto="Udp"):
        """The counters of a protocol in /proc/net/snmp (InDatagrams, RcvbufErrors, …)."""
        with self, open("/proc/thread-self/net/snmp") as file:
            names, values = [line.split()[1:] for line in file if line.startswith(proto + ":")]
        return dict(zip(names, map(int, values)))

    def sysctl(self, **values):
        """Sets sysctls of net.*, dots written as two underscores: ipv6__conf__all__forwarding=1."""
        with self:
            for name, value in values.items():
                with open("/proc/sys/net/" + name.replace("__", "/"), "w") as file:
                    file.write(str(value))

    def delete(self):
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")


# The daemon sees the namespace's own /sys, and the host's bpffs in it, so that pins outlive the daemon; and the network
# namespaces that are named later, as a service does.
ENTER = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", """
    exec 9</sys/fs/bpf && mount -t sysfs sysfs /sys && mount -c --bind /proc/self/fd/9 /sys/fs/bpf && exec 9<&- && exec "$@"
    """, "sh"]


class Daemon:
    """A running `xbridge run`."""

    def __init__(self, bed, argv, fds=()):
        self.bed, self.name, self.argv = bed, bed.name, argv
        self.log = []
        self.process = subprocess.Popen(bed.in_host(*argv), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        env=bed.env, errors="replace", pass_fds=fds)
        self.pid = self.process.pid  # nsenter, unshare and sh have become xbridge: all of them exec
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def text(self):
        return "\n".join(self.log)

    # ---- life ----

    def running(self):
        return self.process.poll() is None

    def wait_log(self, pattern, seconds=10, since=0):
        """Waits for a line of the log (from line `since` on) and returns the match."""
        def found():
            for line in self.log[since:]:
                match = re.search(pattern, line)
                if match:
                    return match
            if not self.running():
                self.reader.join()
                late = [re.search(pattern, line) for line in self.log[since:]]
                match = next(filter(None, late), None)
                assert match, f"ended with status {self.process.returncode} before it said {pattern!r}:\n{self.text()}"
                return match
            return None
        return wait_for(found, f"log line {pattern!r}; the log:\n" + self.text(), seconds)

    def wait_exit(self, seconds=10, log_ends=True):
        """Waits for the end, and that of its log, and returns the exit status (negative: the signal)."""
        status = self.process.wait(seconds * PATIENCE)
        if log_ends:
            self.reader.join()
        return status

    def kill(self, signum=signal.SIGKILL):
        self.process.send_signal(signum)

    def stop(self, signum=signal.SIGTERM, log_ends=True):
        """Ends it as a person would, and checks that it goes properly and in time. Returns how long it took, but for the
        moments in which its threads waited for a CPU. The log does not end with it while a doorman has something to do."""
        at, waits, took = time.monotonic(), self.waits(), 0
        self.kill(signum)

        def ended():
            nonlocal at, waits, took
            now, later = time.monotonic(), waits | self.waits()
            took += max(0, now - at - (sum(later.values()) - sum(waits.values())))
            at, waits = now, later
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        wait_for(ended, f"it stops:\n{self.text()}", pause=0.005)
        status = self.wait_exit(log_ends=log_ends)
        assert status == 0, f"exit status {status}:\n{self.text()}"
        assert took < STOP_S, f"took {took:.2f} s to stop"
        return took

    def waits(self):
        """Seconds that each thread of it, and of the processes that it has made, has waited for a CPU so far."""
        found = {}
        for path in glob.glob(f"/proc/{self.pid}/task/*/children"):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                for pid in [str(self.pid), *file.read().split()]:
                    for thread in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                        with contextlib.suppress(OSError), open(thread, encoding="ascii") as stat:
                            found[thread] = int(stat.read().split()[1]) / 1e9
        return found

    # ---- talk ----

    def cli(self, *words, check=True, named=True):
        """An xbridge command to this instance, as typed; returns its CompletedProcess."""
        words = [*words, "--name", self.name] if named else words
        done = subprocess.run(self.bed.in_host(binary(), *words), capture_output=True, text=True, env=self.bed.env,
                              check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def ask(self, *words):
        """A command over the control socket (include/xbridge/control.h); returns its result, which is what the command
        prints with --json. Quicker than cli(), above all in a VM."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10 * PATIENCE)
            sock.connect(f"{RUN_DIR}/{self.name}.sock")
            sock.sendall(json.dumps({"argv": words}).encode() + b"\n")
            with sock.makefile() as file:
                reply = json.loads(file.readline())
        assert reply["ok"], f"{words}: {reply}"
        return reply["result"]

    def stats(self):
        return self.ask("stats")

    def status(self):
        return self.ask("status")

    def port(self, name):
        """A port of `status`, by name or alias."""
        return next(port for port in self.status()["ports"] if name in (port["name"], port.get("alias")))

    def doctor(self, ifname):
        """What `doctor` finds, as a list."""
        return json.loads(self.cli("doctor", ifname, "--json", check=False, named=False).stdout)["findings"]

    def fdb(self):
        return self.ask("fdb", "list")["fdb"]

    def rest(self, seconds=10):
        """Waits until nothing moves any more, checks that every packet is accounted for, and returns the stats."""
        last = None

        def unchanged():
            nonlocal last
            before, last = last, self.stats()
            if before != last:
                time.sleep(REST_S)
            return before == last
        wait_for(unchanged, "traffic comes to rest", seconds)
        assert imbalance(last) == 0, f"{imbalance(last):+} packets: {json.dumps(interesting(last), indent=1)}"
        return last


def imbalance(stats):
    """What came in less what is accounted for: 0 at rest (DESIGN.md, 6)."""
    ports = [*stats["ports"].values(), stats["departed"]]
    came = sum(p["rx_packets"] for p in ports) + stats["copies"] + stats["segments_added"] + stats["in_flight_at_reset"]
    went = sum(p["tx_packets"] for p in ports) + sum(sum(p["drops"].values()) for p in ports)
    return came - went - stats["frames_joined"] - stats["in_flight"]


def interesting(stats):
    """Stats without what is zero, for messages."""
    if isinstance(stats, dict):
        return {name: interesting(value) for name, value in stats.items() if interesting(value)}
    return stats


def drops(stats, port):
    """The reasons for which a port has dropped, without those that never happened."""
    return {reason: n for reason, n in stats["ports"][port]["drops"].items() if n}


def difference(after, before):
    """Stats (or any nest of numbers) since `before`."""
    if isinstance(after, dict):
        return {name: difference(value, before.get(name, 0) if isinstance(before, dict) else 0)
                for name, value in after.items()}
    return after - (before or 0) if isinstance(after, (int, float)) and not isinstance(after, bool) else after


class Bed:
    """Namespaces, joined as drawn above, and the daemon in them."""

    def __init__(self, uplinks=1, queues=1, tap_in_host=False, quiet=False):
        """uplinks: how many; queues: of each veth, both ways; quiet: no IPv6 and fixed neighbours, so that nobody says
        anything but the test."""
        token = f"xb{os.getpid()}x{next(_numbers)}"
        self.name = token
        self.env = {**os.environ, "XB_BED": token}
        self.daemons = []
        self.forgive_leftovers = False
        self.quiet = quiet
        self.namespaces = []
        self.uplinks = ["v" + chr(ord("a") + i) for i in range(uplinks)]
        try:
            self.host = self._netns(f"{token}-host")
            self.kern = self.host if tap_in_host else self._netns(f"{token}-kern")
            self.peers = [self._netns(f"{token}-peer{i + 1 if i else ''}") for i in range(uplinks)]
            self.peer = self.peers[0] if self.peers else None
            self._wire(queues)
        except BaseException:
            self._give_nics_back()
            for ns in self.namespaces:
                ns.delete()
            raise

    def add_netns(self, suffix):
        """One more namespace, which goes with the bed."""
        return self._netns(f"{self.name}-{suffix}")

    def _netns(self, name):
        ns = Netns(name, self.env)
        self.namespaces.append(ns)
        # no chatter by itself, as far as that can be had
        ns.sysctl(ipv6__conf__all__router_solicitations=0, ipv6__conf__default__router_solicitations=0,
                  ipv6__conf__default__accept_ra=0, ipv6__conf__default__accept_dad=0,
                  ipv6__conf__default__disable_ipv6=int(self.quiet))
        ns.ip("link set lo up")
        return ns

    def _wire(self, queues):
        numbers = f"numrxqueues {queues} numtxqueues {queues}"
        self.host.sysctl(ipv6__conf__default__disable_ipv6=1)
        if NICS:
            self._take_nics(queues)
        for i, (uplink, peer) in enumerate(zip(self.uplinks, self.peers)):
            if not NICS:
                self.host.ip(f"link add {uplink} {numbers} type veth peer name vp {numbers} netns {peer.name}")
            self.host.ip(f"link set {uplink} up")
            peer.ip("link set vp up", f"addr add {peer_ip(i)}/24 dev vp")
            if not self.quiet:
                peer.ip(f"addr add {peer_ip6(i)}/64 dev vp nodad")
        if self.kern is self.host and not self.quiet:
            self.host.sysctl(ipv6__conf__default__disable_ipv6=0)

    def _take_nics(self, queues):
        if self.uplinks != ["va"]:
            pytest.skip("one wire between NICs is all there is")
        for nic, ns, ifname in zip(NICS, (self.host, self.peer), ("va", "vp")):
            subprocess.run(["ip", "link", "set", nic, "netns", ns.name, "name", ifname], check=True)
            ns.run("ethtool", "-L", ifname, "combined", str(queues), check=False)
            ns.run("ethtool", "-K", ifname, "gro", "off", "rxvlan", "off", check=False)  # frames as they cross the wire
            now = ns.run("ethtool", "-l", ifname).stdout.partition("Current")[2]
            if not re.search(rf"Combined:\s+{queues}$", now, re.MULTILINE):
                pytest.skip(f"not {queues} queues on {os.environ['XB_NICS']}: {now}")
        self.peer.ip("link set vp promisc on")  # frames of any VLAN, too

    def _give_nics_back(self):
        if not NICS or not self.uplinks:
            return
        for nic, ns, ifname in zip(NICS, (self.host, self.peer), ("va", "vp")):
            if ns.link(ifname):
                ns.ip(f"link set {ifname} down promisc off", f"link set {ifname} name {nic}", f"link set {nic} netns 1")

    def in_host(self, *command):
        """A command line that runs `command` in the host namespace, with its /sys and the pins."""
        return ["nsenter", f"--net={self.host.path}", *ENTER, *command]

    def start(self, *options, backend=BACKEND, uplinks=None, ready=True, addresses=True, netns=True, wrap=(), fds=()):
        """Starts `xbridge run` and waits until it is ready.

        options:   added to the command line; --name, --netns, --tap and --vhost-net replace the bed's own
        backend:   "tap", "vhost-net" or None (neither flag)
        uplinks:   values of --uplink; default: all, dedicated
        ready:     wait, and give tap0 its addresses (unless addresses=False)
        netns:     False: no --netns
        wrap:      words before the program: a command that execs it
        fds:       descriptors that it inherits
        """
        given = {option.partition("=")[0] for option in options}
        argv = [*wrap, binary(), "run"]
        argv += ["--name", self.name] if "--name" not in given else []
        argv += ["--" + backend] if backend and not given & {"--tap", "--vhost-net"} else []
        argv += ["--netns", self.kern.name] if self.kern is not self.host and netns and "--netns" not in given else []
        for uplink in [f"{name},dedicated" for name in self.uplinks] if uplinks is None else uplinks:
            argv += ["--uplink", uplink if "tx=" in uplink or not TX_WAY else f"{uplink},tx={TX_WAY}"]
        daemon = Daemon(self, argv + list(options), fds)
        self.daemons.append(daemon)
        if ready:
            daemon.wait_log(r"^xbridge: ready: ", 20)
            if addresses:
                self.address_tap()
        return daemon

    @property
    def daemon(self):
        """The one started last."""
        return self.daemons[-1]

    def address_tap(self, ifname="tap0"):
        self.kern.ip(f"addr replace {TAP_IP}/24 dev {ifname}")
        if not self.quiet:
            self.kern.ip(f"addr replace {TAP_IP6}/64 dev {ifname} nodad")
            return
        tap_mac = self.kern.mac(ifname)
        for i, peer in enumerate(self.peers):
            self.kern.ip(f"neigh replace {peer_ip(i)} lladdr {peer.mac('vp')} dev {ifname} nud permanent")
            peer.ip(f"neigh replace {TAP_IP} lladdr {tap_mac} dev vp nud permanent")

    # ---- the end ----

    def keep(self):
        """Waits for a person who wants to look."""
        with open("/dev/tty", "r+b", buffering=0) as tty:
            lines = [f"kept open: {self.name}", *(f"  ip netns exec {ns.name} bash" for ns in self.namespaces),
                     f"  {binary()} status --name {self.name}", "Enter closes it."]
            tty.write(("\r\n".join(["", *lines, ""])).encode())
            tty.readline()

    def close(self):
        """Ends the daemon, removes the namespaces, and asserts that nothing else was left behind."""
        problems = []
        try:
            problems += self._stop_daemons()
            problems += self.leftovers()
        finally:
            problems += self._remove()
        assert not problems, "\n".join(problems)

    def _stop_daemons(self):
        problems = []
        for daemon in self.daemons:
            if daemon.running():
                daemon.kill(signal.SIGCONT)
                try:
                    daemon.stop()
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    problems.append(f"stopping it: {error}")
                    daemon.kill()
                    daemon.wait_exit()
            daemon.process.stderr.close()
            problems += [f"sanitizer: {line}" for line in daemon.log if "Sanitizer" in line or "runtime error" in line]
            problems += [f"assertion: {line}" for line in daemon.log if "Assertion" in line]
            problems += [f"seccomp: {line}" for line in daemon.log if "was refused by the filter" in line]
        return problems

    def _pins(self):
        return f"{PIN_ROOT}/{self.name}"

    def _run_files(self):
        return glob.glob(f"{RUN_DIR}/{self.name}.*")

    def leftovers(self):
        """What a daemon that has ended has left."""
        if self.forgive_leftovers:
            return []
        problems = [f"left behind: {path}" for path in [*glob.glob(self._pins()), *self._run_files()]]
        if self._keeps_tap():
            problems.append("left behind: tap0")
        for uplink in self.uplinks:
            link = self.host.link(uplink)
            problems += [f"left behind: XDP program on {uplink}: {link['xdp']}"] if link and "xdp" in link else []
            problems += [f"left behind: {uplink} is promiscuous"] if link and link["promiscuity"] else []
        return problems

    def _keeps_tap(self):
        """The kernel takes the interface of a daemon that was killed away soon after its end, not before."""
        try:
            wait_for(lambda: not self.kern.link("tap0"), "tap0 goes", seconds=1)
        except AssertionError:
            return True
        return False

    def remove_leftovers(self):
        """Makes room for the next daemon, whatever the last one has left."""
        shutil.rmtree(self._pins(), ignore_errors=True)
        for path in self._run_files():
            os.unlink(path)
        self.kern.run("ip", "link", "del", "tap0", check=False)
        for uplink in self.uplinks:
            self.host.run("ip", "link", "set", uplink, "xdp", "off", check=False)

    def _remove(self):
        """Removes what there is, whoever left it; returns processes that had to be killed."""
        problems = []
        for pid in self._processes():
            with open(f"/proc/{pid}/cmdline") as file:
                problems.append(f"left behind: process {pid}: " + file.read().replace("\0", " "))
            os.kill(pid, signal.SIGKILL)
        self._give_nics_back()
        for ns in self.namespaces:
            ns.delete()
        shutil.rmtree(self._pins(), ignore_errors=True)
        for path in self._run_files():
            os.unlink(path)
        return problems

    def _processes(self):
        found = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as file:
                    if f"XB_BED={self.name}".encode() in file.read().split(b"\0"):
                        found.append(int(path.split("/")[2]))
            except OSError:
                pass  # gone meanwhile
        return found
