# SPDX-License-Identifier: BSD-2-Clause
"""An uplink whose driver sends and receives out of the arena itself. A veth can't, so this wants NICs: a VM's
(`tests/vm/run --nics igb`), where the other files run on them too."""

import pytest

from traffic import tcp_copy
from xbridge import NICS, TAP_IP, peer_ip

pytestmark = pytest.mark.skipif(not NICS, reason="needs NICs: tests/vm/run --nics")
KB = 1 << 10


@pytest.mark.vm
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
def test_without_xdp_in_the_driver_there_is_no_zero_copy(make_bed):
    daemon = make_bed().start(uplinks=["va,dedicated,xdp=generic,mode=zerocopy"], ready=False)
    assert daemon.wait_exit() == 1
    assert "mode=auto falls back to copy" in daemon.text()
