# SPDX-License-Identifier: BSD-2-Clause
"""TAP and macvtap queues, opened by somebody else and handed in as descriptors."""

import fcntl
import os
import struct

import pytest

TUNSETIFF = 0x400454ca
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x0100, 0x1000, 0x4000


def attach(fd, ifname, flags=IFF_TAP | IFF_NO_PI | IFF_VNET_HDR):
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags))


def open_tap(ns, ifname, queues=1):
    """Makes a TAP in a namespace; its queues' descriptors."""
    fds = []
    with ns:
        for _ in range(queues):
            fds.append(os.open("/dev/net/tun", os.O_RDWR))
            attach(fds[-1], ifname, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0))
    return fds


def open_macvtap(ns, ifname, lower, folder):
    """Makes a macvtap on an interface; a descriptor of it. Its device node is not in this namespace's /dev."""
    done = ns.run(*f"ip link add link {lower} name {ifname} type macvtap mode bridge".split(), check=False)
    if "Unknown device type" in done.stderr:
        pytest.skip("this kernel has no macvtap")
    ns.ip(f"link set {ifname} up")
    index = ns.link(ifname)["ifindex"]
    number = ns.run("cat", f"/sys/class/net/{ifname}/macvtap/tap{index}/dev").stdout.split(":")
    node = os.path.join(folder, f"tap{index}")
    os.mknod(node, 0o600 | 0o020000, os.makedev(*map(int, number)))
    fd = os.open(node, os.O_RDWR)
    attach(fd, ifname)
    return fd
