# SPDX-License-Identifier: BSD-2-Clause
"""What is measured on one side of the exception path: TCP second by second, round trips, CPU."""
import contextlib
import json
import os
import re
import statistics
import subprocess
import time

from bench_bed import PEER_IP, inside, sh, wait_for


@contextlib.contextmanager
def server(side):
    process = subprocess.Popen(inside(side.peer, "iperf3", "-s", "-1"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_for("iperf3", lambda: ":5201" in sh(*inside(side.peer, "ss", "-Hltn")))
        yield
    finally:
        process.terminate()
        process.wait()


def client(side, *words):
    return inside(side.host, "iperf3", "-J", "-c", PEER_IP, *words)


def machine_seconds():
    """CPU time that all CPUs together have spent at work since the start."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def parse_tcp(text):
    """Mbit/s on the whole, Mbit/s in each second, Gbit sent, and segments sent again, of iperf3's answer."""
    result = json.loads(text)
    again = result["end"]["sum_sent"]["retransmits"]
    sums = [interval["sum"] for interval in result["intervals"]]
    seconds = [one["bits_per_second"] / 1e6 for one in sums if not one.get("omitted")]
    gbits = sum(one["bytes"] for one in sums) * 8 / 1e9
    return result["end"]["sum_received"]["bits_per_second"] / 1e6, seconds, gbits, again


def fade(seconds):
    """What the second half of a run is to the first one: 0.25 where it falls to a quarter."""
    half = len(seconds) // 2
    return statistics.mean(seconds[half:2 * half]) / max(statistics.mean(seconds[:half]), 1e-9)


def throughput(side, way, seconds, *words):
    """TCP without the first second's slow start: the rate, how it fades, and CPU seconds for each Gbit."""
    own, machine = side.cpu_seconds(), machine_seconds()
    streams = ["-P", str(2 * side.options.queues)] if side.options.queues > 1 else []
    with server(side):
        text = sh(*client(side, "-t", str(seconds), "-O", "1", *streams, *words))
    rate, each, gbits, again = parse_tcp(text)
    figures = {f"{way}_mbit": rate, f"{way}_again": again / gbits, f"{way}_machine": (machine_seconds() - machine) / gbits}
    if side.pids():
        figures[f"{way}_cpu"] = (side.cpu_seconds() - own) / gbits
    if len(each) > 1:
        figures[f"{way}_fade"] = fade(each)
    if side.options.per_second:
        print(f"{side.name:10}{way:4}", " ".join(f"{mbit:.0f}" for mbit in each), flush=True)
    return figures


def both_ways(side, seconds):
    return throughput(side, "out", seconds) | throughput(side, "in", seconds, "-R")


def round_trip(side, count, interval):
    """Median round-trip time in ms."""
    text = sh(*inside(side.host, "ping", "-n", "-c", str(count), "-i", str(interval), PEER_IP))
    return statistics.median(float(ms) for ms in re.findall(r"time=([\d.]+) ms", text))


def loaded_round_trip(side):
    """Median round-trip time in ms while TCP runs beside it."""
    with server(side), subprocess.Popen(client(side, "-b", "20M", "-t", "2"), stdout=subprocess.DEVNULL) as process:
        time.sleep(0.5)
        try:
            return round_trip(side, 100, 0.01)
        finally:
            process.wait()


def round_trips(side):
    return {"rtt_tcp_ms": loaded_round_trip(side), "rtt_busy_ms": round_trip(side, 100, 0.01),
            "rtt_idle_ms": round_trip(side, 10, 0.4), "wakeup_ms": float(sh(side.options.wakeup, "12", "400"))}


@contextlib.contextmanager
def running(side):
    side.resume()
    time.sleep(0.2)
    try:
        yield
    finally:
        side.pause()


def warm_up(side, seconds):
    with running(side):
        both_ways(side, seconds)


def turn(side, seconds):
    """All figures of one turn."""
    figures = {}
    with running(side):
        if side.options.what != "latency":
            figures |= both_ways(side, seconds)
        if side.options.what != "throughput":
            figures |= round_trips(side)
    print(f"{side.name:10}", " ".join(f"{key} {value:.2f}" for key, value in figures.items()), flush=True)
    return figures


def idle_cpu(side, seconds=10):
    """CPU in per cent of one, without traffic."""
    with running(side):
        before = side.cpu_seconds()
        time.sleep(seconds)
        return (side.cpu_seconds() - before) / seconds * 100
