# SPDX-License-Identifier: BSD-2-Clause
"""How the kernel is reached: vhost-net, the TAP alone, or whichever there is.

    kern: tap0 ◄── vhost-net or TAP ── xbridge ──► va ◄── veth ──► vp :peer
"""

import errno
import os

import pytest

from filtered import filtered
from traffic import tcp_copy
from xbridge import BACKEND, TAP_IP, scaled

HAS_VHOST_NET = os.path.exists("/dev/vhost-net")
MB = 1 << 20
IO_URING_SETUP = 425  # the system call


def carries(bed):
    bed.peer.run("ping", "-c", "2", "-i", "0.02", "-W", "10", TAP_IP)
    tcp_copy(bed.peer, bed.kern, TAP_IP, scaled(8 * MB), back=scaled(8 * MB))
    bed.daemon.rest()


def test_tap_alone_carries_traffic(make_bed):
    bed = make_bed()
    daemon = bed.start(backend="tap")
    assert daemon.wait_log(r"tap0: through the TAP alone, as --tap asks for")
    assert daemon.port("kernel")["backend"] == "tap"
    carries(bed)


def test_tap_without_io_uring_carries_traffic(make_bed):
    """Where io_uring is refused, as by kernel.io_uring_disabled or in a container, readv and writev serve."""
    bed = make_bed()
    daemon = bed.start(backend="tap", wrap=filtered(IO_URING_SETUP, errno.EPERM))
    assert daemon.port("kernel")["io"] == "readv"
    carries(bed)


@pytest.mark.vhost
def test_vhost_net_carries_traffic(make_bed):
    bed = make_bed()
    daemon = bed.start(backend="vhost-net")
    assert daemon.wait_log(r"tap0: through vhost-net, as --vhost-net asks for")
    assert daemon.port("kernel")["backend"] == "vhost-net"
    carries(bed)


@pytest.mark.vm
def test_without_either_flag_the_log_says_what_was_chosen_and_why(make_bed):
    bed = make_bed()
    daemon = bed.start(backend=None)
    if HAS_VHOST_NET:
        daemon.wait_log(r"tap0: through vhost-net, since this host has it")
    else:
        daemon.wait_log(r"tap0: through the TAP alone, without vhost-net \(open /dev/vhost-net: No such file")
    assert daemon.port("kernel")["backend"] == BACKEND
    carries(bed)


@pytest.mark.skipif(HAS_VHOST_NET, reason="this host has vhost-net")
def test_vhost_net_on_a_host_without_it_says_device_reason_and_remedy(make_bed):
    bed = make_bed()
    daemon = bed.start(backend="vhost-net", ready=False)
    assert daemon.wait_exit() == 1
    (line,) = (line for line in daemon.log if "error:" in line)
    for part in "/dev/vhost-net", "No such file or directory", "modprobe vhost_net", "--tap":
        assert part in line


def test_tap0_may_lie_beside_the_uplink(make_bed):
    bed = make_bed(tap_in_host=True)
    bed.start()
    carries(bed)


def test_tap0_takes_the_address_of_the_uplink(make_bed):
    bed = make_bed()
    bed.start("--mac", "uplink")
    assert bed.kern.mac("tap0") == bed.host.mac("va")
    carries(bed)


@pytest.mark.parametrize("xdp", ["native", "generic"])
def test_either_xdp_mode_carries_traffic(make_bed, xdp):
    bed = make_bed()
    # generic XDP sees a veth peer's packets before they are cut
    bed.peer.run("ethtool", "-K", "vp", "tso", "off", "gso", "off")
    daemon = bed.start(uplinks=[f"va,dedicated,xdp={xdp}"])
    assert daemon.port("va")["xdp"] == xdp
    carries(bed)


@pytest.mark.parametrize("ring", [64, 1024])
def test_virtqueues_of_other_sizes_carry_traffic(make_bed, ring):
    bed = make_bed()
    bed.start("--queue-size", str(ring))
    carries(bed)
