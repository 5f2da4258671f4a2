# SPDX-License-Identifier: BSD-2-Clause
"""Traffic between two namespaces of a bed, in threads of the test itself, with all ends known."""

import hashlib
import os
import socket
import struct
import threading
import time

from xbridge import PATIENCE, REST_S

BLOCK = os.urandom(1 << 18)
UDP_SEGMENT = 103  # linux/udp.h
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def family(ip):
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


class Task(threading.Thread):
    """A thread whose result, or exception, join() hands on."""

    def __init__(self, work, *args):
        super().__init__(daemon=True)
        self.work, self.args, self.result, self.error = work, args, None, None
        self.start()

    def run(self):
        try:
            self.result = self.work(*self.args)
        except BaseException as error:  # pylint: disable=broad-except  # handed on
            self.error = error

    def join(self, timeout=60):
        super().join(timeout * PATIENCE)
        assert not self.is_alive(), f"{self.work.__name__} did not end"
        if self.error:
            raise self.error
        return self.result


# ---- TCP ----

def tcp_pair(source, target, ip):
    """A connection from `source` to `ip` in `target`: the two sockets."""
    with target:
        listener = socket.create_server((ANY[family(ip)], 0), family=family(ip))
    with source:
        client = socket.socket(family(ip))
    with listener:
        for sock in listener, client:
            sock.settimeout(15 * PATIENCE)
        client.connect((ip, listener.getsockname()[1]))
        server, _ = listener.accept()
    server.settimeout(15 * PATIENCE)
    return client, server


def send_stream(sock, amount):
    """Sends `amount` bytes and the end; returns their sha256. Each block begins with its number."""
    digest = hashlib.sha256()
    for number in range(0, amount, len(BLOCK)):
        block = struct.pack("!Q", number) + BLOCK[8:]
        block = block[:amount - number]
        digest.update(block)
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def receive_stream(sock):
    """Receives until the end; returns how many bytes came and their sha256."""
    digest, amount, buffer = hashlib.sha256(), 0, bytearray(1 << 18)
    while True:
        n = sock.recv_into(buffer)
        if not n:
            return amount, digest.hexdigest()
        digest.update(memoryview(buffer)[:n])
        amount += n


def tcp_copy(source, target, ip, amount, back=0, patience=60):
    """Sends `amount` bytes from `source` to `ip` in `target`, and `back` bytes the other way at the same time; asserts
    that both arrive whole."""
    client, server = tcp_pair(source, target, ip)
    with client, server:
        senders = [Task(send_stream, client, amount), Task(send_stream, server, back)]
        receivers = [Task(receive_stream, server), Task(receive_stream, client)]
        for sender, receiver, n in zip(senders, receivers, (amount, back)):
            digest = sender.join(patience)
            assert receiver.join(patience) == (n, digest)


class Flows:
    """TCP connections that send all the time, in the background, until stop()."""

    def __init__(self, source, target, ip, n):
        self.over = threading.Event()
        self.progress = [0] * n
        self.pairs = [tcp_pair(source, target, ip) for _ in range(n)]
        self.senders = [Task(self._send, pair[0]) for pair in self.pairs]
        self.receivers = [Task(self._receive, i, pair[1]) for i, pair in enumerate(self.pairs)]

    def _send(self, sock):
        sent, digest = 0, hashlib.sha256()
        while not self.over.is_set():
            sock.sendall(BLOCK[:1 << 14])
            digest.update(BLOCK[:1 << 14])
            sent += 1 << 14
            time.sleep(0)
        sock.shutdown(socket.SHUT_WR)
        return sent, digest.hexdigest()

    def _receive(self, i, sock):
        digest, buffer = hashlib.sha256(), bytearray(1 << 16)
        while True:
            n = sock.recv_into(buffer)
            if not n:
                return self.progress[i], digest.hexdigest()
            digest.update(memoryview(buffer)[:n])
            self.progress[i] += n

    def all_moved_since(self, before, by=1 << 14):
        return all(now >= then + by for now, then in zip(self.progress, before))

    def stop(self):
        """Ends all flows; asserts that each arrived whole."""
        self.over.set()
        for sender, receiver in zip(self.senders, self.receivers):
            assert receiver.join() == sender.join()
        for pair in self.pairs:
            for sock in pair:
                sock.close()


# ---- UDP ----

def udp_socket(ns, ip, port=0, buffer=1 << 23):
    """A bound UDP socket in `ns` with a large receive buffer."""
    with ns:
        sock = socket.socket(family(ip), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, buffer)  # SO_RCVBUFFORCE
    sock.bind((ANY[family(ip)], port))
    sock.settimeout(10 * PATIENCE)
    return sock


def datagram(number, size):
    return struct.pack("!Q", number) + BLOCK[number % 251:number % 251 + size - 8]


def udp_copy(source, target, ip, count, size, window=16):
    """Sends `count` numbered datagrams of `size` bytes, at most `window` ahead of the receiver; asserts that each arrives
    once, whole and in order."""
    with udp_socket(source, ip) as sender, udp_socket(target, ip) as receiver:
        sender.connect((ip, receiver.getsockname()[1]))
        for number in range(count + window):
            if number < count:
                sender.send(datagram(number, size))
            if number >= window:
                got = receiver.recv(65536)
                assert got == datagram(number - window, size), f"datagram {number - window} of {count}"


def udp_blast(daemon, source, target, ip, count, size, flows=1, until=None):
    """Sends `count` datagrams as fast as it goes, over `flows` source ports, and more until the event `until`; returns the
    numbers of those that had arrived when xbridge had come to rest. A loss on the sender's own side raises."""
    over = threading.Event()
    with udp_socket(target, ip) as receiver:
        port = receiver.getsockname()[1]
        senders = [udp_socket(source, ip) for _ in range(flows)]
        collector = Task(_collect, receiver, over)
        number = 0
        while number < count or until and not until.is_set():
            senders[number % flows].sendto(datagram(number, size), (ip, port))
            number += 1
        for sender in senders:
            sender.close()
        daemon.rest(30)
        over.set()
        return collector.join(120)


def _collect(sock, over):
    numbers = []
    sock.settimeout(2 * REST_S)
    while True:
        last = over.is_set()
        try:
            numbers.append(struct.unpack_from("!Q", sock.recv(65536))[0])
        except TimeoutError:
            if last:
                return numbers


# ---- many small flows ----

def udp_flows(source, target, ip, flows, each, size=200):
    """Sends `each` datagrams on each of `flows` source ports, lockstep per flow; asserts that all arrive."""
    with udp_socket(target, ip) as receiver:
        port = receiver.getsockname()[1]
        for flow in range(flows):
            with udp_socket(source, ip) as sender:
                for number in range(each):
                    sender.sendto(datagram(number, size), (ip, port))
                for number in range(each):
                    assert struct.unpack_from("!Q", receiver.recv(65536))[0] == number, f"flow {flow}"


# ---- frames ----

class Wire:
    """A packet socket on an interface: frames as they pass there."""

    def __init__(self, ns, ifname, outgoing=False):
        with ns:
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)
            if not outgoing:
                self.sock.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
            self.sock.setsockopt(263, 8, 1)  # PACKET_AUXDATA
            self.sock.bind((ifname, 3))  # ETH_P_ALL
        self.sock.settimeout(5 * PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, *frames):
        for frame in frames:
            self.sock.send(frame)

    def recv(self):
        """The next frame, its VLAN tag put back where the kernel took it off."""
        data, control, _, _ = self.sock.recvmsg(1 << 16, 256)
        for level, kind, value in control:
            if level == 263 and kind == 8:
                status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", value)
                if status & 0x10:  # TP_STATUS_VLAN_VALID
                    data = data[:12] + struct.pack("!HH", tpid if status & 0x40 else 0x8100, tci) + data[12:]
        return data

    def drain(self):
        """All frames that have arrived up to now."""
        self.sock.setblocking(False)
        frames = []
        try:
            while True:
                frames.append(self.recv())
        except BlockingIOError:
            return frames
        finally:
            self.sock.settimeout(5 * PATIENCE)

    def expect(self, payload):
        """Waits for a frame that contains `payload` and returns it."""
        while True:
            frame = self.recv()
            if payload in frame:
                return frame


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def ether(dst, src, payload=b"", ethertype=0x88B5, tags=()):
    """A frame; 0x88b5 is a local experimental EtherType. tags: VLAN ids, or (TPID, id)."""
    frame = mac_bytes(dst) + mac_bytes(src)
    for tag in tags:
        tpid, vlan = tag if isinstance(tag, tuple) else (0x8100, tag)
        frame += struct.pack("!HH", tpid, vlan)
    return frame + struct.pack("!H", ethertype) + payload


def ones_sum(data):
    """The one's complement sum of RFC 1071, of which a right checksum makes 0xffff."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def check_packet(frame):
    """Asserts that all lengths and checksums of a frame are right; returns what it holds: "tcp4", "udp6", "frag4", …,
    or None where there is nothing to be checked."""
    at, ethertype = 14, struct.unpack_from("!H", frame, 12)[0]
    while ethertype in (0x8100, 0x88A8):
        ethertype = struct.unpack_from("!H", frame, at + 2)[0]
        at += 4
    if ethertype == 0x0800:
        ihl = (frame[at] & 15) * 4
        total, fragment = struct.unpack_from("!H2xH", frame, at + 2)
        assert 20 <= ihl <= total <= len(frame) - at, f"IPv4 length {total} in {len(frame)}"
        assert total == len(frame) - at or len(frame) <= 60, f"IPv4 length {total}, {len(frame) - at} bytes are there"
        assert ones_sum(frame[at:at + ihl]) == 0xFFFF, "IPv4 header checksum"
        if fragment & 0x3FFF:
            return "frag4"
        protocol, pseudo, body = frame[at + 9], frame[at + 12:at + 20], frame[at + ihl:at + total]
        version = "4"
    elif ethertype == 0x86DD:
        length, protocol = struct.unpack_from("!HB", frame, at + 4)
        assert at + 40 + length == len(frame), f"IPv6 length {length}"
        pseudo, body, version = frame[at + 8:at + 40], frame[at + 40:], "6"
    else:
        return None
    names = {6: "tcp", 17: "udp", 58: "icmpv"}
    if protocol not in names:
        return None
    if protocol == 17:
        assert struct.unpack_from("!H", body, 4)[0] == len(body), "UDP length"
        if version == "4" and body[6:8] == b"\0\0":
            return "udp4"  # none given
    pseudo += struct.pack("!IxxxB", len(body), protocol)
    assert ones_sum(pseudo + body) == 0xFFFF, f"{names[protocol]}{version} checksum: {frame.hex()}"
    return names[protocol] + version
