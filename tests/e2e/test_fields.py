# SPDX-License-Identifier: BSD-2-Clause
"""What rules do to frames on the wire: each field, each verdict, each way."""

import contextlib
import itertools

import pytest
from scapy.layers.inet import IP, UDP

from steer import CASES, GROUP, IN_VLAN, OWN, Ends, frame, from_the_kernel, judged, marked, marks, readdressed, rules, tagged
from traffic import Wire
from xbridge import difference, drops, wait_for


@pytest.fixture(scope="module")
def bed(make_module_bed):
    bed = make_module_bed(quiet=True)
    bed.start("--default", "drop")
    return bed


@pytest.fixture
def ends(bed):
    with contextlib.ExitStack() as stack:
        yield Ends(bed, stack)


EVERY_DAY = {"vlan", "own", "src6", "dport", "later"}  # of what else takes long


def cases(every_day, without=()):
    """Natively those of every day, and all in the long run; in VMs all but those that say nothing of a VLAN but come in
    one, of which there are a few."""
    def marks_of(case):
        if case in every_day:
            return [pytest.mark.kernels]
        return [pytest.mark.long, *([pytest.mark.native] if case in IN_VLAN and case not in IN_VLAN_IN_VMS else [])]
    return pytest.mark.parametrize("case", [pytest.param(case, marks=marks_of(case)) for case in [*CASES, *IN_VLAN]
                                            if case.removesuffix(" in a VLAN") not in without])


IN_VLAN_IN_VMS = {f"{case} in a VLAN" for case in ("own", "ethertype", "src6", "dport", "later")}


def frames_of(case):
    """A match, a frame that it matches, and one that it nearly does."""
    return (CASES | IN_VLAN)[case]


# What a rule may say, and where frames arrive by it, of three that it matches, sent at once: time plays no part then.
VERDICTS = {
    "kernel": [{"kernel"}] * 3,
    "pass": [{"pass"}] * 3,
    "drop": [set()] * 3,
    "bridge": [{"kernel", "vb"}] * 3,
    "vb": [{"vb"}] * 3,
    "kernel limit 1:2": [{"kernel"}, {"kernel"}, set()],
}


def by_way_of(verdict, own):
    """VERDICTS, but that nobody is bridged back to where it came from."""
    return [set()] * 3 if own and verdict == "bridge" else VERDICTS[verdict]


def checked(ends, hits_at, hit, near_at, near):
    """Sends what a rule matches, and what it nearly does, in turn: the second of each is remembered."""
    said = [pair for where in hits_at for pair in ((hit, where), (near, near_at))]
    change = ends.check(*said)
    return {name: count for name, count in change["ports"]["va"]["xdp"].items() if count and not name.endswith("_bytes")}


@pytest.fixture(scope="module")
def wide_bed(make_module_bed):
    """With another uplink."""
    bed = make_module_bed(uplinks=2, quiet=True)
    bed.start("--default", "drop")
    return bed


@pytest.fixture
def wide_ends(wide_bed):
    with contextlib.ExitStack() as stack:
        yield Ends(wide_bed, stack)
    wide_bed.daemon.ask("steer", "default", "drop")


@cases(every_day=CASES)
def test_each_field_for_each_verdict(wide_bed, wide_ends, case):
    match, hit, near = frames_of(case)
    for verdict in VERDICTS:
        where = by_way_of(verdict, own=case.startswith("own"))
        default = "kernel" if verdict == "drop" else "drop"
        wide_bed.daemon.ask("steer", "load", f"{match} to {verdict}\n")
        wide_bed.daemon.ask("steer", "default", default)
        xdp = checked(wide_ends, where, hit, {"kernel"} if default == "kernel" else set(), near)
        assert rules(wide_bed.daemon)[0]["packets"] == 3
        assert xdp == {"kernel": {"redirect": 3, "drop": 3}, "pass": {"pass_verdict": 3, "drop": 3},
                       "drop": {"drop": 3, "redirect": 3}, "bridge": {"redirect": 3, "drop": 3},
                       "vb": {"redirect": 3, "drop": 3}, "kernel limit 1:2": {"redirect": 2, "limit": 1, "drop": 3}}[verdict]


@cases(every_day=EVERY_DAY | {"smac", "tcp-flags", "dscp6"}, without=("own", "all"))
def test_each_field_in_frames_from_the_kernel(daemon, bed, case):
    """`pass`, which only an uplink's frames can do, is bridged here."""
    match, hit, near = frames_of(case)
    for verdict, wanted, dropped in (("va", [0, 2, 4], {"verdict": 3}), ("bridge", [0, 2, 4], {"verdict": 3}),
                                     ("drop", [], {"verdict": 6}), ("va limit 1:2", [0, 2], {"verdict": 3, "limit": 1})):
        daemon.ask("steer", "load", f"in kernel {match} to {verdict}\n")
        arrived, change = from_the_kernel(bed, *[hit, near] * 3)
        assert (arrived, drops(change, "tap0")) == (wanted, dropped), verdict
        assert rules(daemon)[0]["packets"] == 3
    daemon.ask("steer", "load", f"{match} to pass\n")
    assert from_the_kernel(bed, hit, near)[0] == [0]


@pytest.fixture(scope="module")
def shared_bed(make_module_bed):
    """With another uplink."""
    bed = make_module_bed(uplinks=2, quiet=True)
    bed.start("--default", "drop", uplinks=["va,shared", "vb,dedicated"])
    return bed


@pytest.fixture
def shared_ends(shared_bed):
    with contextlib.ExitStack() as stack:
        yield Ends(shared_bed, stack)


@cases(every_day=EVERY_DAY)
def test_each_field_in_frames_to_others_on_a_shared_uplink(shared_bed, shared_ends, case):
    match, hit, near = frames_of(case)
    own = case.startswith("own")
    for verdict in VERDICTS:
        shared_bed.daemon.ask("steer", "load", f"{match} to {verdict}\n")
        checked(shared_ends, by_way_of(verdict, own), hit, set(), near)
        assert rules(shared_bed.daemon)[0]["packets"] == 3


@cases(every_day=EVERY_DAY, without=("dmac", "own"))
def test_each_field_in_frames_to_a_shared_uplink_itself(shared_bed, shared_ends, case):
    """They stay with it, but by a rule that says `dmac own`."""
    match, hit, near = (readdressed(what, OWN) if isinstance(what, bytes) else what for what in frames_of(case))
    for verdict in VERDICTS:
        shared_bed.daemon.ask("steer", "load", f"{match} to {verdict}\n")
        shared_ends.check((hit, {"pass"}), (near, {"pass"}))
        shared_bed.daemon.ask("steer", "load", f"{match} dmac own to {verdict}\n")
        checked(shared_ends, by_way_of(verdict, own=True), hit, {"pass"}, near)
        assert rules(shared_bed.daemon)[0]["packets"] == 3


@cases(every_day=EVERY_DAY, without=("dmac", "own"))
def test_each_field_in_group_frames_on_a_shared_uplink(shared_bed, shared_ends, case):
    """Its stack has them whatever rules say, which are about xbridge's copy: dropped, limited, or sent on."""
    match, hit, near = (readdressed(what, GROUP) if isinstance(what, bytes) else what for what in frames_of(case))
    for verdict, where in VERDICTS.items():
        shared_bed.daemon.ask("steer", "load", f"{match} to {verdict}\n")
        said = [pair for to in where for pair in ((hit, to | {"pass"}), (near, {"pass"}))]
        change = shared_ends.check(*said)
        # `pass` is what the stack has had already: there is no use for another copy
        assert drops(change, "va") == {"drop": {"verdict": 6}, "pass": {"verdict": 6},
                                       "kernel limit 1:2": {"verdict": 3, "limit": 1}}.get(verdict, {"verdict": 3})
        assert change["ports"]["va"]["xdp"]["pass_group"] == 6
        assert rules(shared_bed.daemon)[0]["packets"] == 3


@pytest.mark.kernels
@pytest.mark.parametrize("rest", ["", " proto udp dport 53"])
def test_a_rule_for_frames_from_a_port_lets_those_from_others_be(wide_bed, rest):
    daemon = wide_bed.daemon
    with contextlib.ExitStack() as stack:
        wires = {name: stack.enter_context(Wire(ns, ifname)) for name, ns, ifname in (
            ("va", wide_bed.peers[0], "vp"), ("vb", wide_bed.peers[1], "vp"), ("kernel", wide_bed.kern, "tap0"))}

        def judged_since(before):
            ports = difference(daemon.stats(), before)["ports"]
            return sum(judged(ports[uplink]) for uplink in wide_bed.uplinks) + ports["tap0"]["rx_packets"]
        for port, to in itertools.permutations(wires, 2):
            daemon.ask("steer", "load", f"in {port}{rest} to {to}\n")
            before = daemon.rest()
            for number, wire in enumerate(wires.values()):
                wire.send(*[marked(frame(UDP(dport=53)), number)] * 2)
            wait_for(lambda: judged_since(before) == 6, "all are judged")  # pylint: disable=cell-var-from-loop
            daemon.rest()
            assert rules(daemon)[0]["packets"] == 2
            found = {name: dict(marks(wire.drain())) for name, wire in wires.items()}
            assert found == {**dict.fromkeys(wires, {}), to: {list(wires).index(port): 2}}


S, C = 0x88A8, 0x8100

# match: a frame with two tags that it matches, and one that it nearly does
QINQ = {
    "the outer tag": ("vlan 7", tagged(frame(UDP()), (S, 7), (C, 9)), tagged(frame(UDP()), (S, 9), (C, 7))),
    "two alike": ("vlan 7", tagged(frame(UDP()), (C, 7), (C, 9)), tagged(frame(UDP()), (C, 9), (C, 7))),
    "priorities": ("vlan 7", tagged(frame(UDP()), (S, 0xE007), (C, 0x7009)), tagged(frame(UDP()), (S, 0x7009), (C, 0xE007))),
    "ethertype": ("ethertype ipv4", tagged(frame(UDP()), (S, 7), (C, 9)), tagged(frame(UDP()), (S, 7), (C, 9), (C, 8))),
    "dst": ("dst 198.51.100.2", tagged(frame(UDP()), (S, 7), (C, 9)),
            tagged(frame(IP(src="198.51.100.1", dst="198.51.100.3") / UDP()), (S, 7), (C, 9))),
    "dport": ("vlan 7 proto udp dport 53", tagged(frame(UDP(dport=53)), (S, 7), (C, 9)),
              tagged(frame(UDP(dport=54)), (S, 7), (C, 9))),
    "src6": ("src 2001:db8:1::/48", tagged(CASES["src6"][1], (S, 7), (C, 9)), tagged(CASES["src6"][2], (S, 7), (C, 9))),
    "later6": ("frag later", tagged(CASES["later6"][1], (S, 7), (C, 9)), tagged(CASES["later6"][2], (S, 7), (C, 9))),
    "three tags": ("dport 53", tagged(frame(UDP(dport=53)), (S, 7), (C, 9)),
                   tagged(frame(UDP(dport=53)), (S, 7), (C, 9), (C, 8))),
}


@pytest.mark.kernels
@pytest.mark.parametrize("case", QINQ)
def test_frames_with_two_tags_obey_both_ways(daemon, ends, bed, case):
    match, hit, near = QINQ[case]
    daemon.ask("steer", "load", f"in va {match} to kernel\nin kernel {match} to va\n")
    assert ends.send(hit) == "kernel"
    assert ends.send(near) == "drop"
    assert from_the_kernel(bed, hit, near)[0] == [0]
