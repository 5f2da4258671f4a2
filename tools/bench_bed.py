# SPDX-License-Identifier: BSD-2-Clause
"""What stands between an uplink and the kernel, and the two namespaces around it.

    netns peer            netns host (no address on va)              netns host
    10.9.0.2 vb ──── va ──── the side that is measured ──── xbtap0 10.9.0.1
"""
import contextlib
import os
import signal
import subprocess
import sys
import time

HOST_IP, PEER_IP = "10.9.0.1", "10.9.0.2"
TAP = "xbtap0"


def sh(*words, **kw):
    return subprocess.run(words, check=True, text=True, capture_output=True, **kw).stdout


def inside(ns, *words):
    return ["ip", "netns", "exec", ns, *words]


def wait_for(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: {what}: nothing after {seconds} s")
        time.sleep(0.05)


class Side:
    """One way from va to the kernel and back, in namespaces of its own. It rests but for its turns."""
    name: str
    huge_pages = 0  # of 2 MiB

    def __init__(self, options):
        self.options = options
        token = self.name.replace("=", "-")
        self.host, self.peer = f"xbbench-{token}-host", f"xbbench-{token}-peer"

    def start(self):
        """Makes the way from va to the TAP; its address is not there yet."""
        raise NotImplementedError

    def stop(self):
        """Takes it back."""

    def pause(self):
        """It takes no CPU until resume()."""

    def resume(self):
        pass

    def pids(self):
        """The processes whose CPU time is this side's own."""
        return []

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            undo.callback(self.remove_namespaces)
            self.make_namespaces()
            undo.callback(self.stop)
            self.start()
            self.address_tap()
            self.pause()
            undo.pop_all()
        return self

    def __exit__(self, *_):
        self.stop()
        self.remove_namespaces()

    def make_namespaces(self):
        for ns in (self.host, self.peer):
            sh("ip", "netns", "add", ns)
            sh(*inside(ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        self.make_veth("va", self.host, "vb", self.peer)
        sh("ip", "-n", self.peer, "addr", "add", PEER_IP + "/24", "dev", "vb")
        # a checksum that veth leaves open would never be finished by testpmd's io engine
        sh(*inside(self.peer, "ethtool", "-K", "vb", "tx", "off"))

    def make_veth(self, one, one_ns, other, other_ns):
        queues = ["numtxqueues", str(self.options.queues), "numrxqueues", str(self.options.queues)]
        sh("ip", "link", "add", one, "netns", one_ns, *queues, "type", "veth",
           "peer", "name", other, "netns", other_ns, *queues)
        sh("ip", "-n", one_ns, "link", "set", one, "up")
        sh("ip", "-n", other_ns, "link", "set", other, "up")

    def remove_namespaces(self):
        for ns in (self.host, self.peer):
            subprocess.run(["ip", "netns", "del", ns], check=False, stderr=subprocess.DEVNULL)

    def address_tap(self):
        sh("ip", "-n", self.host, "addr", "add", HOST_IP + "/24", "dev", TAP)
        sh("ip", "-n", self.host, "link", "set", TAP, "up")
        wait_for(f"{self.name}: ping", self.answers)

    def tap_is_there(self):
        return subprocess.run(["ip", "-n", self.host, "link", "show", TAP], capture_output=True,
                              check=False).returncode == 0

    def answers(self):
        return subprocess.run(inside(self.host, "ping", "-c1", "-W1", PEER_IP), capture_output=True,
                              check=False).returncode == 0

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class ProcessSide(Side):
    """A process between va and the TAP, stopped by a signal while others have their turn."""
    stop_signal: signal.Signals

    def __init__(self, options):
        super().__init__(options)
        self.process = self.log = None

    def command(self):
        raise NotImplementedError

    def start(self):
        self.log = open(os.path.join(self.options.work, self.host), "w", encoding="utf-8")
        self.process = subprocess.Popen(inside(self.host, *self.command()), stdin=subprocess.PIPE, text=True,
                                        stdout=self.log, stderr=subprocess.STDOUT)
        with self.log_on_failure():
            wait_for(f"{self.name}: {TAP}", self.tap_is_there)

    def address_tap(self):
        with self.log_on_failure():
            super().address_tap()

    @contextlib.contextmanager
    def log_on_failure(self):
        try:
            yield
        except SystemExit:
            with open(self.log.name, encoding="utf-8") as file:
                sys.stderr.writelines(file.readlines()[-40:])
            raise

    def stop(self):
        if not self.process:
            return
        self.process.send_signal(self.stop_signal)
        self.resume()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.log.close()
        wait_for("the TAP goes", lambda: not self.tap_is_there())

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def pids(self):
        """The process and, on vhost-net, the kernel's workers for it, which are named after it."""
        found = [self.process.pid]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                if comm.read().strip() == f"vhost-{self.process.pid}":
                    found.append(int(pid))
        return found
