# SPDX-License-Identifier: BSD-2-Clause
"""Who is measured on the exception path: xbridge, DPDK's testpmd, and the kernel's own bridge."""
import signal

from bench_bed import TAP, ProcessSide, Side, sh


class Xbridge(ProcessSide):
    stop_signal = signal.SIGTERM
    huge_pages = 96
    way: str

    def command(self):
        return [self.options.binary, "run", "--name", f"bench-{self.way}", f"--{self.options.backend}",
                "--ifname", TAP, "--queues", str(self.options.queues), "--uplink", f"va,dedicated,tx={self.way}"]


class XbridgeXdp(Xbridge):
    """Sending through AF_XDP, as testpmd does."""
    name = "tx=xdp"
    way = "xdp"


class XbridgePacket(Xbridge):
    """What it chooses by itself where the driver has no zero copy."""
    name = "tx=packet"
    way = "packet"


class Testpmd(ProcessSide):
    stop_signal = signal.SIGINT
    huge_pages = 128
    ring: int  # descriptors of a virtqueue
    engine: str
    words: list[str] = []

    def command(self):
        queues, backend = self.options.queues, self.options.backend
        kernel = {"vhost-net": f"net_virtio_user0,path=/dev/vhost-net,iface={TAP},queues={queues},queue_size={self.ring}",
                  "tap": f"net_tap0,iface={TAP}"}[backend]
        return ["env", f"LD_PRELOAD={self.options.dpdk}", "dpdk-testpmd", "--no-pci", "--in-memory", "--no-telemetry",
                "-m", str(self.huge_pages * 2), "--single-file-segments",
                "--lcores=9@0,0@0", "--main-lcore=9", "--vdev", f"net_af_xdp0,iface=va,queue_count={queues}",
                "--vdev", kernel, "--", f"--forward-mode={self.engine}", "--no-mlockall", "-i",
                f"--rxq={queues}", f"--txq={queues}", *self.words]


class TestpmdIo(Testpmd):
    """A ring as DPDK makes it by itself, packets passed on as they are."""
    name = "io256"
    ring = 256
    engine = "io"
    words = ["--auto-start", "--total-num-mbufs=16384"]


class TestpmdIo1024(TestpmdIo):
    """The same with the ring that DPDK's guide to the exception path advises."""
    name = "io1024"
    ring = 1024


class TestpmdCsum(Testpmd):
    """
    As that guide advises it, with all it says on offloads: the kernel's large segments cross whole (LRO) and are
    cut by software (GSO) on the AF_XDP side, what comes from there is joined (GRO), checksums are left to the TAP. Port 0 is
    the AF_XDP socket, port 1 virtio_user.
    """
    name = "csum1024"
    ring = 1024
    engine = "csum"
    words = ["--disable-device-start", "--total-num-mbufs=32768", "--txd=1024", "--rxd=1024"]
    dialogue = ["port config 1 rx_offload tcp_cksum on", "port config 1 rx_offload udp_cksum on",
                "port config 1 rx_offload tcp_lro on",
                # by itself the engine gives packets other MAC addresses
                "csum mac-swap off 0", "csum mac-swap off 1",
                "csum set tcp hw 1", "csum set udp hw 1", "tso set 1460 1",
                # "not supported", it answers, and from then on leaves a large segment's checksum alone, which GSO does not need
                "tso set 1460 0",
                "set port 0 gso on", "set gso segsz 1514", "set port 0 gro on",
                "port start all", "start"]

    def start(self):
        super().start()
        for line in self.dialogue:
            self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


class TestpmdCsum256(TestpmdCsum):
    """The same with the ring that DPDK makes by itself: what a shortage of descriptors does."""
    name = "csum256"
    ring = 256


class KernelBridge(Side):
    """What the kernel does alone: a bridge between va and a veth, whose other end has the address."""
    name = "bridge"

    def start(self):
        sh("ip", "-n", self.host, "link", "add", "br0", "type", "bridge")
        self.make_veth("vc", self.host, TAP, self.host)
        for port in ("va", "vc"):
            sh("ip", "-n", self.host, "link", "set", port, "master", "br0")
        sh("ip", "-n", self.host, "link", "set", "br0", "up")


SIDES = {kind.name: kind for kind in (XbridgeXdp, XbridgePacket, TestpmdIo, TestpmdIo1024, TestpmdCsum, TestpmdCsum256,
                                      KernelBridge)}
