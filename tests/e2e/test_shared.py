# SPDX-License-Identifier: BSD-2-Clause
"""An uplink that carries the host's own traffic too, and one whose address moves to tap0.

      host                                               peer
    ┌──────────────────────────────────────┐          ┌─────────────────────┐
    │ tap0 192.0.2.1    va  192.0.2.100  ◄─┼── veth ──┼► vp 192.0.2.2       │
    │   ▲                va.7 198.51.100.1 │          │  vp.7 198.51.100.2  │
    │   └── xbridge ──────► va (AF_XDP)    │          └─────────────────────┘
    └──────────────────────────────────────┘
"""

import contextlib
import json
import select
import signal
import socket
import struct
import subprocess
import threading

import pytest

from load import BROADCAST, OWN_IP, Wire, answers, mac_bytes
from xbridge import IN_VM, PATIENCE, PIN_ROOT, TAP_IP, drops, peer_ip, scaled, wait_for

VLAN_IP, VLAN_PEER_IP = "198.51.100.1", "198.51.100.2"
SOL_PACKET, PACKET_AUXDATA = 263, 8
TEST_TYPE = 0x88b5  # local experimental EtherType
BREATH_S = 0.01 if IN_VM else 0  # between two numbers of a session: emulated CPUs would do nothing else


def make_shared(make_bed, tap_in_host):
    bed = make_bed(tap_in_host=tap_in_host)
    bed.host.ip(f"addr add {OWN_IP}/24 dev va")
    return bed


def add_vlan(bed):
    for ns, ifname, ip in ((bed.host, "va", VLAN_IP), (bed.peer, "vp", VLAN_PEER_IP)):
        done = ns.run(*f"ip link add link {ifname} name {ifname}.7 type vlan id 7".split(), check=False)
        if "Unknown device type" in done.stderr:
            pytest.skip("this kernel has no VLAN devices")
        ns.ip(f"link set {ifname}.7 up", f"addr add {ip}/24 dev {ifname}.7")


@pytest.fixture
def bed(make_bed):
    """tap0 in a namespace of its own."""
    return make_shared(make_bed, tap_in_host=False)


@pytest.fixture
def crowded_bed(make_bed):
    """tap0 beside the uplink, in its namespace."""
    return make_shared(make_bed, tap_in_host=True)


SHARED = {"uplinks": ["va"]}


class Session:
    """A TCP connection on which a number goes forth and back, again and again."""

    def __init__(self, server_ns, server_ip, client_ns):
        with server_ns:
            listener = socket.create_server((server_ip, 0))
        with client_ns:
            self.client = socket.create_connection(listener.getsockname(), 10 * PATIENCE)
        self.server = listener.accept()[0]
        listener.close()
        self.count = 0
        self.thread = threading.Thread(target=self._echo, daemon=True)
        self.thread.start()

    def _echo(self):
        with contextlib.suppress(OSError):
            while data := self.server.recv(65536):
                self.server.sendall(data)

    def talk(self, rounds=1):
        """How often the number came back within a second."""
        for _ in range(rounds):
            self.client.settimeout(5 * PATIENCE)
            self.client.sendall(struct.pack("!I", self.count))
            assert self.client.recv(4, socket.MSG_WAITALL) == struct.pack("!I", self.count)
            self.count += 1

    def close(self):
        self.client.close()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)  # where the other end can't be heard
        self.thread.join()
        self.server.close()


@pytest.fixture(params=["own", pytest.param("vlan", marks=pytest.mark.vm)])
def sessions(bed, request):
    """TCP from and to the uplink's address, or that of a VLAN device on it."""
    if request.param == "vlan":
        add_vlan(bed)
    ip, remote_ip = (OWN_IP, peer_ip()) if request.param == "own" else (VLAN_IP, VLAN_PEER_IP)
    made = [Session(bed.host, ip, bed.peer), Session(bed.peer, remote_ip, bed.host)]
    yield made
    for session in made:
        session.close()


class Talk:
    """Sessions that talk all the time, beside what the test does."""

    def __init__(self, sessions):
        self.sessions, self.stop, self.errors = sessions, threading.Event(), []
        self.threads = [threading.Thread(target=self._run, args=(session,)) for session in sessions]

    def _run(self, session):
        try:
            while not self.stop.wait(BREATH_S):
                session.talk()
        except Exception as error:  # whatever it is, the test is told
            self.errors.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def goes_on(self):
        """Waits until each session has gone a bit further."""
        goals = [session.count + scaled(100, 10) for session in self.sessions]
        wait_for(lambda: self.errors or all(s.count >= goal for s, goal in zip(self.sessions, goals)), "sessions go on")
        assert not self.errors


# ---- the host's own traffic ----

def test_tcp_of_the_uplink_and_of_a_vlan_on_it_survives_start_run_and_stop(bed, sessions):
    with Talk(sessions) as talk:
        talk.goes_on()
        for _ in range(scaled(3)):
            daemon = bed.start(**SHARED)
            talk.goes_on()
            assert answers(bed.peer, TAP_IP)
            daemon.stop()
            talk.goes_on()
    assert daemon.wait_log(r"uplink va is shared \(by default\): .*--uplink va,shared or va,dedicated")


def test_tcp_of_a_shared_uplink_survives_kill_and_stall(bed, sessions):
    with Talk(sessions) as talk:
        daemon = bed.start(**SHARED)
        talk.goes_on()
        daemon.kill(signal.SIGSTOP)
        talk.goes_on()
        daemon.kill(signal.SIGKILL)
        daemon.wait_exit()
        talk.goes_on()
        bed.start(**SHARED)
        talk.goes_on()


def try_connections(*ways):
    for server_ns, ip, client_ns in ways:
        session = Session(server_ns, ip, client_ns)
        session.talk(3)
        session.close()


def test_new_connections_to_the_own_address_and_to_tap0_work_while_it_runs(crowded_bed):
    bed = crowded_bed
    bed.start(**SHARED)
    try_connections((bed.host, OWN_IP, bed.peer), (bed.peer, peer_ip(), bed.host), (bed.host, TAP_IP, bed.peer))


@pytest.mark.vm
def test_new_connections_to_a_vlan_on_the_uplink_work_while_it_runs(crowded_bed):
    bed = crowded_bed
    add_vlan(bed)
    bed.start(**SHARED)
    try_connections((bed.host, VLAN_IP, bed.peer), (bed.peer, VLAN_PEER_IP, bed.host))


def test_mac_of_a_device_stacked_later_passes_too(bed):
    daemon = bed.start(**SHARED)
    bed.host.ip("link add link va name mv0 address 02:00:00:00:77:01 type macvlan mode bridge", "link set mv0 up",
                "addr add 192.0.2.77/24 dev mv0")
    wait_for(lambda: answers(bed.peer, "192.0.2.77"), "the macvlan answers")
    before = daemon.stats()["ports"]["va"]["xdp"]["pass_own"]
    assert answers(bed.peer, "192.0.2.77")
    assert daemon.stats()["ports"]["va"]["xdp"]["pass_own"] > before
    bed.host.ip("link del mv0")


# ---- shared by default ----

@pytest.fixture
def bare_bed(make_bed):
    """The host has nothing but a link-local address on the uplink, as with BGP unnumbered."""
    bed = make_bed()
    bed.host.sysctl(ipv6__conf__va__disable_ipv6=0, ipv6__conf__va__accept_dad=0)
    wait_for(lambda: link_local(bed.host, "va"), "va has a link-local address")
    return bed


def link_local(ns, ifname):
    words = ns.run("ip", "-6", "-o", "addr", "show", "dev", ifname, "scope", "link").stdout.split()
    return words[3].split("/")[0] if len(words) > 3 else None


@pytest.mark.parametrize("how", [["va"], ["va,shared"]], ids=["nothing said", "shared"])
def test_host_with_a_link_local_address_alone_keeps_it_and_what_it_gets_later(bare_bed, how):
    bed = bare_bed
    wait_for(lambda: link_local(bed.peer, "vp"), "vp has a link-local address")
    daemon = bed.start(uplinks=how)
    reason = "by default" if how == ["va"] else "as configured"
    daemon.wait_log(rf"uplink va is shared \({reason}\): .*--uplink va,shared or va,dedicated")
    bed.host.run("ping", "-c", "3", "-i", "0.1", "-W", "2", f"{link_local(bed.peer, 'vp')}%va")
    bed.peer.run("ping", "-c", "3", "-i", "0.1", "-W", "2", f"{link_local(bed.host, 'va')}%vp")
    bed.host.ip(f"addr add {OWN_IP}/24 dev va")  # as by DHCP
    assert answers(bed.peer, OWN_IP)
    assert answers(bed.peer, TAP_IP)
    assert daemon.port("va")["shared"] is True


def test_dedicated_uplink_stays_so_when_the_host_gets_an_address(bare_bed):
    bed = bare_bed
    daemon = bed.start(uplinks=["va,dedicated"])
    daemon.wait_log(r"uplink va is dedicated \(as configured\): .*--uplink va,shared or va,dedicated")
    bed.host.ip(f"addr add {OWN_IP}/24 dev va")
    wait_for(lambda: answers(bed.peer, TAP_IP), "tap0 answers")
    assert daemon.port("va")["shared"] is False
    assert not all_who_have(bed, OWN_IP), "group frames are xbridge's"


def test_mac_of_a_device_that_was_moved_away_and_set_up_there_passes_within_two_seconds(bed):
    daemon = bed.start(**SHARED)
    container = bed.add_netns("container")
    bed.host.ip("link add link va name mv0 type macvlan mode bridge", f"link set mv0 netns {container.name}")
    wait_for(lambda: daemon.status()["uptime_s"] >= 2, "some looks later")
    container.ip("link set mv0 address 02:00:00:00:77:02", "addr add 192.0.2.77/24 dev mv0", "link set mv0 up")
    wait_for(lambda: own_macs_of_va(bed) >= {"02:00:00:00:77:02"}, "its address is the stack's", seconds=2)
    assert answers(bed.peer, "192.0.2.77")
    container.ip("link set mv0 down")
    wait_for(lambda: "02:00:00:00:77:02" not in own_macs_of_va(bed), "and no longer", seconds=2)
    container.ip("link del mv0")


def own_macs_of_va(bed):
    dump = subprocess.run(bed.in_host("bpftool", "-j", "map", "dump", "pinned", f"{PIN_ROOT}/{bed.name}/own_macs"), check=True,
                          capture_output=True, text=True).stdout
    return {":".join(f"{int(str(byte), 0):02x}" for byte in row["formatted"]["key"]["mac"]) for row in json.loads(dump)}


# ---- a bridge's port ----

@pytest.mark.vm
def test_guest_behind_the_uplinks_bridge_keeps_working(make_bed):
    """va and g0 are ports of br0, which has the host's address; the guest is at the other end of g0."""
    bed = make_bed()
    done = bed.host.run("ip", "link", "add", "br0", "type", "bridge", check=False)
    if "Unknown device type" in done.stderr:
        pytest.skip("this kernel has no bridge")
    guest = bed.add_netns("guest")
    bed.host.ip(f"link add g0 type veth peer name eth0 netns {guest.name}", "link set g0 master br0", "link set va master br0",
                "link set br0 up", "link set g0 up", f"addr add {OWN_IP}/24 dev br0")
    guest.ip("link set eth0 up", "addr add 192.0.2.50/24 dev eth0")
    daemon = bed.start(**SHARED)
    wait_for(lambda: answers(guest, peer_ip()), "the guest reaches the peer")
    wait_for(lambda: own_macs_of_va(bed) >= {guest.mac("eth0")}, "the guest's address stays with the bridge", seconds=2)
    with Wire(bed.kern, "tap0", TEST_TYPE) as tap, Wire(guest, "eth0", TEST_TYPE) as there, Wire(bed.peer, "vp") as peer:
        for number in range(20):
            peer.send(group_frame(peer.mac, mac_bytes(guest.mac("eth0")), number))
        assert count_copies(there) == {number: 1 for number in range(20)}
        assert count_copies(tap) == {}, "they are no business of tap0"
    for _ in range(3):
        assert answers(bed.peer, "192.0.2.50") and answers(guest, peer_ip()) and answers(bed.peer, OWN_IP)
        assert answers(bed.peer, TAP_IP)
    for number in range(5):  # learned while it runs: not only once a second
        mac = f"02:00:00:00:55:0{number}"
        guest.ip(f"link set eth0 address {mac}")
        guest.run("ping", "-c", "1", "-W", "0.1", "192.0.2.60", check=False)
        wait_for(lambda mac=mac: mac in own_macs_of_va(bed), "it is followed at once", seconds=0.5)
    bed.host.ip("link del br0")
    wait_for(lambda: guest.mac("eth0") not in own_macs_of_va(bed), "and without the bridge it does not", seconds=2)
    daemon.rest()


# ---- two addresses in one segment ----

def all_who_have(bed, ip):
    with Wire(bed.peer, "vp") as wire:
        return set(wire.who_has(ip, 0.3 * PATIENCE))


def test_arp_for_the_uplinks_own_address_is_answered_by_the_uplink_alone(crowded_bed):
    bed = crowded_bed
    daemon = bed.start(**SHARED)
    for _ in range(5):
        assert all_who_have(bed, OWN_IP) == {bed.host.mac("va")}
    bed.peer.ip("neigh flush dev vp")
    assert answers(bed.peer, OWN_IP)
    assert bed.host.mac("va") in bed.peer.run("ip", "neigh", "show", OWN_IP).stdout
    daemon.wait_log("--netns")


def test_arp_for_both_addresses_settles_right_once_the_uplink_is_told_so_too(crowded_bed):
    bed = crowded_bed
    bed.start(**SHARED)
    bed.host.sysctl(ipv4__conf__va__arp_ignore=1)  # what the log recommends, else tap0's own namespace
    for ip, ifname in ((OWN_IP, "va"), (TAP_IP, "tap0")):
        assert all_who_have(bed, ip) == {bed.host.mac(ifname)}


def test_arp_settles_right_with_tap0_in_its_own_namespace(bed):
    daemon = bed.start(**SHARED)
    assert all_who_have(bed, OWN_IP) == {bed.host.mac("va")}
    assert all_who_have(bed, TAP_IP) == {bed.kern.mac("tap0")}
    assert "arp" not in daemon.text()


def arp_sysctls(ns, ifname):
    names = [f"net.ipv4.conf.{ifname}.{name}" for name in ("arp_ignore", "arp_announce")]
    return ns.run("sysctl", "-n", *names).stdout.split()


@pytest.mark.kernels
def test_arp_of_tap0_is_confined_only_beside_a_shared_uplink(crowded_bed):
    bed = crowded_bed
    daemon = bed.start(**SHARED)
    assert arp_sysctls(bed.host, "tap0") == ["1", "2"]
    assert arp_sysctls(bed.host, "va") == ["0", "0"]
    assert daemon.wait_log(r"warning: .*va.*answers ARP for tap0's address.*--netns")
    bed.host.ip("link del tap0")  # made again, it is confined again
    wait_for(lambda: bed.host.link("tap0"), "tap0 is made again")
    wait_for(lambda: arp_sysctls(bed.host, "tap0") == ["1", "2"], "its sysctls")
    daemon.stop()
    daemon = bed.start(uplinks=["va,dedicated"])
    assert arp_sysctls(bed.host, "tap0") == ["0", "0"]
    assert "arp" not in daemon.text().lower()


# ---- nobody gets a frame twice ----

def group_frame(smac, dmac, number, vlan=None):
    tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
    return dmac + smac + tag + struct.pack("!HI", TEST_TYPE, number) + bytes(42)


def count_copies(wire, seconds=0.3):
    """How often each number came in, until nothing comes any more."""
    copies = {}
    while True:
        frame = wire.receive(seconds * PATIENCE)
        if frame is None:
            return copies
        if frame[12:14] == struct.pack("!H", TEST_TYPE):
            number = struct.unpack("!I", frame[14:18])[0]
            copies[number] = copies.get(number, 0) + 1


@pytest.mark.parametrize("dmac", [pytest.param(BROADCAST, marks=pytest.mark.kernels), mac_bytes("01:00:5e:00:00:fb"),
                                  mac_bytes("33:33:00:00:00:01")], ids=["broadcast", "ipv4-multicast", "ipv6-multicast"])
def test_group_frame_reaches_tap0_and_the_uplinks_stack_once_each(bed, dmac):
    daemon = bed.start(**SHARED)
    n = scaled(200, 20)
    bed.host.ip("link set va allmulticast on")
    with Wire(bed.peer, "vp") as peer, Wire(bed.host, "va", TEST_TYPE) as own, Wire(bed.kern, "tap0", TEST_TYPE) as tap:
        for number in range(n):
            peer.send(group_frame(peer.mac, dmac, number))
        wanted = {number: 1 for number in range(n)}
        assert count_copies(own) == wanted
        assert count_copies(tap) == wanted
    assert daemon.rest()["ports"]["va"]["rx_missed"] == 0


def test_group_frame_from_tap0_reaches_the_peer_once_and_never_comes_back(bed):
    daemon = bed.start(**SHARED)
    n = scaled(200, 20)
    with Wire(bed.peer, "vp", TEST_TYPE) as peer, Wire(bed.kern, "tap0") as tap, Wire(bed.host, "va", TEST_TYPE) as own:
        for number in range(n):
            tap.send(group_frame(tap.mac, BROADCAST, number))
        assert count_copies(peer) == {number: 1 for number in range(n)}
        assert count_copies(tap) == {}
        assert count_copies(own) == {}, "the uplink's stack and tap0 don't meet through the uplink"
    daemon.rest()


def test_group_frame_from_the_uplinks_stack_is_not_copied_to_tap0(bed):
    daemon = bed.start(**SHARED)
    with Wire(bed.host, "va") as own, Wire(bed.peer, "vp", TEST_TYPE) as peer, Wire(bed.kern, "tap0", TEST_TYPE) as tap:
        for number in range(20):
            own.send(group_frame(own.mac, BROADCAST, number))
        assert count_copies(peer) == {number: 1 for number in range(20)}
        assert count_copies(tap) == {}
    daemon.rest()
    assert drops(daemon.stats(), "va") == {}, "xbridge doesn't even see them"


def receive_tagged(wire, ethertype):
    """(VLAN, number) of the next test frame; the kernel keeps the tag beside it."""
    while select.select([wire.sock], [], [], 1 * PATIENCE)[0]:
        frame, extra, _, address = wire.sock.recvmsg(2048, 256)
        tci = struct.unpack_from("=IIIHHHH", extra[0][2])[5]
        if address[1] == ethertype and address[2] != socket.PACKET_OUTGOING:
            return tci & 0xfff, struct.unpack("!I", frame[14:18])[0]
    return None


def test_tagged_group_frame_keeps_its_tag_on_the_way_to_tap0(bed):
    bed.start(**SHARED)
    with Wire(bed.peer, "vp") as peer, Wire(bed.kern, "tap0") as tap:
        tap.sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        peer.send(group_frame(peer.mac, BROADCAST, 1, vlan=7))
        assert receive_tagged(tap, TEST_TYPE) == (7, 1)


def test_unicast_to_tap0_never_reaches_the_uplinks_stack_nor_the_other_way(bed):
    daemon = bed.start(**SHARED)
    tap_mac, own_mac = mac_bytes(bed.kern.mac("tap0")), mac_bytes(bed.host.mac("va"))
    with Wire(bed.peer, "vp") as peer, Wire(bed.host, "va", TEST_TYPE) as own, Wire(bed.kern, "tap0", TEST_TYPE) as tap:
        for number in range(20):
            peer.send(group_frame(peer.mac, tap_mac, number))
            peer.send(group_frame(peer.mac, own_mac, 100 + number))
        assert count_copies(tap) == {number: 1 for number in range(20)}
        assert count_copies(own) == {100 + number: 1 for number in range(20)}
    assert daemon.rest()["ports"]["va"]["xdp"]["pass_own"] >= 20


# ---- dedicated, with the uplink's MAC ----

@pytest.mark.kernels
def test_with_mac_uplink_the_address_moves_to_tap0_and_everything_goes_on(make_bed):
    """What a user of KNI does: the NIC's address and MAC belong to the kernel's interface."""
    bed = make_bed(tap_in_host=True)
    own_mac = bed.host.mac("va")
    bed.host.ip(f"addr add {TAP_IP}/24 dev va")
    assert answers(bed.peer, TAP_IP)
    arp = bed.peer.run("ip", "neigh", "show", TAP_IP).stdout
    session = Session(bed.host, TAP_IP, bed.peer)
    session.talk(3)
    daemon = bed.start("--mac", "uplink", addresses=False)
    assert bed.host.mac("tap0") == own_mac
    bed.host.ip(f"addr del {TAP_IP}/24 dev va", f"addr add {TAP_IP}/24 dev tap0")
    session.talk(10)  # the same connection; the peer's ARP entry holds
    session.close()
    assert answers(bed.peer, TAP_IP)
    assert own_mac in arp and own_mac in bed.peer.run("ip", "neigh", "show", TAP_IP).stdout
    bed.peer.ip("neigh flush dev vp")
    assert answers(bed.peer, TAP_IP)
    assert answers(bed.host, peer_ip())
    stats = daemon.rest()
    assert stats["ports"]["tap0"]["tx_packets"] > 0
    assert stats["ports"]["va"]["xdp"]["pass_own"] == 0
