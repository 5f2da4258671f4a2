# SPDX-License-Identifier: BSD-2-Clause
"""The figures of all turns as tables: medians with their quartiles, xbridge's ratios to each peer, and targets."""
import operator
import statistics

ROWS = (("out_mbit", "TCP from the kernel to the uplink, Mbit/s"),
        ("in_mbit", "TCP from the uplink to the kernel, Mbit/s"),
        ("out_fade", "the same out, second half by first"),
        ("in_fade", "the same in, second half by first"),
        ("out_again", "segments sent again for each Gbit out"),
        ("in_again", "segments sent again for each Gbit in"),
        ("out_cpu", "its own CPU seconds for each Gbit out"),
        ("in_cpu", "its own CPU seconds for each Gbit in"),
        ("out_machine", "the machine's CPU seconds, Gbit out"),
        ("in_machine", "the machine's CPU seconds, Gbit in"),
        ("rtt_tcp_ms", "round trip beside 20 Mbit/s of TCP, ms"),
        ("rtt_busy_ms", "round trip, ping -i 0.01, ms"),
        ("rtt_idle_ms", "round trip, ping -i 0.4, ms"),
        ("wakeup_ms", "waking a thread that sleeps, ms"),
        ("allowed", "peer's ping -i 0.4 and one waking, ms"))
NO_RATIO = ("out_again", "in_again", "wakeup_ms")

# What xbridge's ratio to DPDK's testpmd should be, sending through AF_XDP as that does; rows that have none are for
# scale. Who sleeps is woken once more than one that polls: what is allowed for the idle round trip is the sum of two
# figures that each scatter by a third, and a tenth is left for that.
LEAST, MOST = (">=", operator.ge), ("<=", operator.le)
TARGETS = {"vhost-net": {"out_mbit": (LEAST, 1.3), "in_mbit": (LEAST, 1.1), "rtt_busy_ms": (MOST, 1.3),
                         "allowed": (MOST, 1.1)},
           "tap": {"out_mbit": (LEAST, 1.5), "in_mbit": (LEAST, 1.5)}}
IDLE_CPU_MAX = 1.0  # per cent
JUDGED = "tx=xdp"  # the side that has targets
OURS = (JUDGED, "tx=packet")
NO_GOAL = ("bridge",)  # peers that are for scale


class Targets:
    """Says of a figure whether its target is met, and remembers whether all are."""

    def __init__(self, backend):
        self.of_row, self.all_met = TARGETS[backend], True

    def judge(self, figure, relation, target):
        sign, holds = relation
        met = holds(figure, target)
        self.all_met = self.all_met and met
        return f"  target {sign} {target:g}: {'met' if met else 'MISSED'}"

    def of_ratio(self, key, ratio):
        return self.judge(ratio, *self.of_row[key]) if key in self.of_row else ""


def spread(figures):
    """Lower quartile, median, upper quartile."""
    return statistics.quantiles(figures, n=4, method="inclusive") if len(figures) > 1 else figures * 3


def column(turns, key):
    """One side's figures of a row, or None where it has none."""
    return [figures[key] for figures in turns] if all(key in figures for figures in turns) else None


def number(figure):
    return f"{figure:.0f}" if figure >= 1000 else f"{figure:.4g}"


def cell(figures):
    """The median, and in brackets the quartiles."""
    if not figures:
        return "-"
    low, middle, high = map(number, spread(figures))
    return f"{middle} ({low}-{high})"


def medians(turns):
    """A row a figure, a column a side."""
    heads = [f"{name}, {len(of)} turns" for name, of in turns.items()]
    print(f"\n{'medians (quartiles)':42}" + "".join(f"  {head:>24}" for head in heads))
    for key, text in ROWS:
        columns = [column(of, key) for of in turns.values()]
        if any(columns):
            print(f"{text:42}" + "".join(f"  {cell(figures):>24}" for figures in columns))


def of_peer(key, ours, theirs):
    """The turns' ratios in a row, or None: of the idle round trip also to what is allowed for it."""
    if key == "allowed":
        idle, wakeup, base = column(ours, "rtt_idle_ms"), column(ours, "wakeup_ms"), column(theirs, "rtt_idle_ms")
        return idle and base and [own / (peer + waking) for own, peer, waking in zip(idle, base, wakeup)]
    own, peer = column(ours, key), column(theirs, key)
    return own and peer and [x / y for x, y in zip(own, peer)]


def ratios(name, peer, turns, targets):
    """xbridge by one peer: the median of the turns' own ratios, and their quartiles."""
    print(f"\n{f'{name} / {peer}':42} median of ratios (quartiles)")
    for key, text in ROWS:
        found = None if key in NO_RATIO else of_peer(key, turns[name], turns[peer])
        if not found:
            continue
        low, middle, high = spread(found)
        verdict = targets.of_ratio(key, middle) if name == JUDGED and peer not in NO_GOAL else ""
        print(f"{text:42} {middle:5.2f} ({low:.2f}-{high:.2f}){verdict}")


def report(turns, backend):
    """Prints all tables of {side: [figures of each turn]}; returns the targets that were judged."""
    targets = Targets(backend)
    medians(turns)
    for peer in (name for name in turns if name not in OURS):
        for name in (name for name in turns if name in OURS):
            ratios(name, peer, turns, targets)
    return targets


def report_idle(idle, targets):
    """CPU in per cent of each side, without traffic."""
    print()
    for name, cpu in idle.items():
        verdict = targets.judge(cpu, ("<", operator.lt), IDLE_CPU_MAX) if name == JUDGED else ""
        print(f"{f'CPU when idle, {name}, %':42} {cpu:5.2f}{verdict}")
