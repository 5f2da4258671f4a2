# SPDX-License-Identifier: BSD-2-Clause
"""The books: what each side of an interface counts, held against the other (DESIGN.md, 6).

Wants a bed where nobody sends through an uplink but xbridge.
"""

from xbridge import difference, interesting, wait_for

XDP_DROPS = ("drop", "limit")


def passed(port):
    """Frames that the XDP program has left to the uplink's own stack."""
    return sum(n for reason, n in port["xdp"].items() if reason.startswith("pass_"))


class Books:
    """The counters of all who count, from one moment at rest to the next."""

    def __init__(self, bed):
        self.bed = bed
        self.before = self.read()

    def read(self):
        bed = self.bed
        # the last frames are given back when a worker wakes for its heartbeat, if not before
        wait_for(lambda: bed.daemon.rest()["in_flight"] == 0, "all that was sent is given back")
        return {"xbridge": bed.daemon.stats(), "tap": bed.kern.counters("tap0"), "kern_udp": bed.kern.snmp(),
                "uplinks": {name: bed.host.counters(name) for name in bed.uplinks},
                "wires": {i: peer.counters("vp") for i, peer in enumerate(bed.peers)},
                "udp": {i: peer.snmp() for i, peer in enumerate(bed.peers)}}

    def close(self, resets=False):
        """Asserts that both sides of each interface tell the same, and returns what has changed. resets: tap0's queues were
        reset meanwhile, and what they held may be missed; otherwise nothing is."""
        change = difference(self.read(), self.before)
        ports, tap = change["xbridge"]["ports"], change["tap"]
        shared = {port["name"] for port in self.bed.daemon.status()["ports"] if port.get("shared")}
        for i, uplink in enumerate(self.bed.uplinks):
            port, wire = ports[uplink], change["wires"][i]
            xdp = port["xdp"]
            # in copy mode the kernel may say that it has sent what it then drops, as a veth does whose other end is full
            sent = port["tx_packets"] - change["uplinks"][uplink]["tx_dropped"]
            assert wire["rx_packets"] == sent, (uplink, interesting(change))
            assert wire["tx_packets"] == xdp["redirect"] + passed(port) + sum(xdp[name] for name in XDP_DROPS), (
                uplink, interesting(change))
            # of group frames that pass, a shared uplink's packet socket gives xbridge a copy
            copies = xdp["pass_group"] if uplink in shared else 0
            dropped = sum(xdp[name] for name in XDP_DROPS)  # is received and dropped, once
            assert port["rx_packets"] + port["rx_missed"] == xdp["redirect"] + copies + dropped, (uplink, interesting(change))
            assert port["drops"]["verdict"] >= xdp["drop"] and port["drops"]["limit"] >= xdp["limit"], uplink
        assert tap["rx_packets"] + tap["rx_dropped"] + tap["rx_errors"] == ports["tap0"]["tx_packets"], interesting(change)
        assert tap["tx_packets"] == ports["tap0"]["rx_packets"] + ports["tap0"]["rx_missed"], interesting(change)
        assert resets or ports["tap0"]["rx_missed"] == 0, interesting(change)
        return change


def lost_inside(change):
    """What xbridge says it has lost."""
    return sum(p["rx_missed"] + sum(p["drops"].values()) for p in change["xbridge"]["ports"].values())


def lost_in_kernel(change):
    """What interfaces and sockets say they have lost, of UDP between tap0 and the peers, and what went to the uplinks' own
    stack, which does not want it, since all was held up for long."""
    links = [*change["wires"].values(), *change["uplinks"].values(), change["tap"]]
    sockets = [*change["udp"].values(), change["kern_udp"]]
    strayed = sum(passed(port) for port in change["xbridge"]["ports"].values() if "xdp" in port)
    return (strayed + sum(link["tx_dropped"] for link in links) + change["tap"]["rx_dropped"] +
            sum(counters["RcvbufErrors"] for counters in sockets))
