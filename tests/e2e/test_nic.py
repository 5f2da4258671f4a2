# SPDX-License-Identifier: BSD-2-Clause
"""An uplink whose driver sends and receives out of the arena itself, and one whose driver loses its XDP programs. A
veth does neither, so this wants NICs: a VM's (`tests/vm/run --nics igb`), where the other files run on them too."""

import os

import pytest

from traffic import tcp_copy
from xbridge import NICS, TAP_IP, peer_ip, wait_for

pytestmark = pytest.mark.skipif(not NICS, reason="needs NICs: tests/vm/run --nics")
VMXNET3 = os.environ.get("XB_NICS") == "vmxnet3"
zero_copy = pytest.mark.skipif(VMXNET3, reason="vmxnet3 has no zero copy")
KB = 1 << 10


@pytest.mark.vm
@pytest.mark.skipif(bool(NICS) and not VMXNET3, reason="about vmxnet3 alone")
def test_generic_xdp_is_recommended_where_the_driver_loses_its_programs(make_bed):
    """And what is recommended outlives what its native program does not: another MTU."""
    bed = make_bed(queues=2)  # as many as the driver has with two CPUs; it knows no other number
    daemon = bed.start(uplinks=["va,dedicated,xdp=generic"])
    (finding,) = [found for found in daemon.doctor("va") if "native XDP" in found["text"]]
    assert finding["state"] == "warn" and "vmxnet3 has native XDP, but loses it" in finding["text"], finding
    assert finding["remedy"] == "xbridge run --uplink va,xdp=generic"
    assert daemon.port("va")["xdp"] == "generic"
    tcp_copy(bed.peer, bed.kern, TAP_IP, 64 * KB)
    bed.host.ip("link set va mtu 1400")
    daemon.wait_log("uplink va has MTU 1400")
    wait_for(lambda: daemon.port("va")["running"], "the uplink is used again")
    tcp_copy(bed.kern, bed.peer, peer_ip(), 64 * KB)
    daemon.rest()


@pytest.mark.vm
@zero_copy
@pytest.mark.parametrize("mode, got", [("auto", "zerocopy"), ("zerocopy", "zerocopy"), ("copy", "copy")])
def test_zero_copy_unless_it_is_not_wanted(make_bed, mode, got):
    bed = make_bed()
    daemon = bed.start(uplinks=[f"va,dedicated,mode={mode}"])
    port = daemon.port("va")
    assert (port["mode"], port["xdp"]) == (got, "native")
    assert port["tx"] == ("packet" if got == "copy" else "xdp"), port["tx_why"]
    assert daemon.wait_log(r"uplink va: .*, AF_XDP (zero copy|copy)").group(1).replace(" ", "") == got
    tcp_copy(bed.peer, bed.kern, TAP_IP, 512 * KB)
    tcp_copy(bed.kern, bed.peer, peer_ip(), 512 * KB)
    daemon.rest()


@pytest.mark.vm
@zero_copy
def test_without_xdp_in_the_driver_there_is_no_zero_copy(make_bed):
    daemon = make_bed().start(uplinks=["va,dedicated,xdp=generic,mode=zerocopy"], ready=False)
    assert daemon.wait_exit() == 1
    assert "mode=auto falls back to copy" in daemon.text()
