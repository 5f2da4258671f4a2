# SPDX-License-Identifier: BSD-2-Clause
"""The pinned maps as bpftool shows them, and as docs/steering-maps.md describes them."""

import json
import os
import re
import subprocess

from xbridge import PIN_ROOT, ROOT


def bpftool(bed, name):
    """The elements of a map: dictionaries with key and value, or values, a list of one for each CPU. One that goes while
    bpftool looks, has none."""
    out = subprocess.run(bed.in_host("bpftool", "-j", "map", "dump", "pinned", f"{PIN_ROOT}/{bed.name}/{name}"),
                         check=True, capture_output=True, text=True).stdout
    return [row["formatted"] for row in json.loads(out) if "formatted" in row]


def by_key(bed, name):
    """An array's elements by their index."""
    return {row["key"]: row["value"] for row in bpftool(bed, name)}


def rule_hits(bed):
    """What rules have met, by their slots: packets, bytes and last_ns, of all CPUs and of userspace, never reset."""
    user = by_key(bed, "rule_stats_user")
    met = {}
    for row in bpftool(bed, "rule_stats"):
        each = [user[row["key"]]["met"], *(cpu["value"] for cpu in row["values"])]
        met[row["key"]] = {"packets": sum(one["packets"] for one in each), "bytes": sum(one["bytes"] for one in each),
                           "last_ns": max(one["last_ns"] for one in each)}
    return met


def mac(octets):
    return ":".join(f"{octet:02x}" for octet in octets)


def described():
    """What the page says: map → part (key, value) → the names of its fields, each with those of the struct that it is;
    None: the part is a number."""
    maps, fields = {}, None
    with open(os.path.join(ROOT, "docs", "steering-maps.md"), encoding="utf-8") as file:
        for line in file:
            heading = re.fullmatch(r"## ([a-z_]+)\n", line)
            row = re.match(r"\| (key|value) \| ([^|]*) \|", line)
            if heading:
                maps[heading[1]] = {}
            elif row:
                part = list(maps.values())[-1]
                names = re.findall(r"`([.\w]+)`", row[2])
                if not names:
                    part[row[1]] = None
                elif names[0].startswith("."):
                    for field in fields:
                        part[row[1]][field] |= {name[1:] for name in names}
                else:
                    fields = names
                    part.setdefault(row[1], {}).update({name: set() for name in names})
    return maps
