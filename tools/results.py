#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Reads ctest's JUnit files and prints one line a test: passed|failed|skipped, its name, the reason of a skip.

A test program that passes may have skipped some of its cases: cmocka, pytest (-rs) and `SKIP: reason` are
understood, and each such case is a line of its own.
"""

import re
import sys
import xml.etree.ElementTree as ET

CASE_SKIPPED = [
    re.compile(r"^SKIP (?P<case>\w+): (?P<reason>.*)"),
    re.compile(r"^\[  SKIPPED \] (?P<case>\w+)$"),
    re.compile(r"^SKIPPED \[\d+\] (?P<case>\S+): (?P<reason>.*)"),
    re.compile(r"^SKIP(PED)?: (?P<reason>.*)", re.IGNORECASE),
]


def skipped_cases(output):
    """(case, reason) of each skip that the output tells of, in order, once."""
    found = {}
    for line in output.splitlines():
        for pattern in CASE_SKIPPED:
            if match := pattern.match(line):
                groups = match.groupdict()
                case, reason = groups.get("case", ""), groups.get("reason")
                found.setdefault(case or reason, (case, reason or "no reason given"))
                break
    return list(found.values())


def results(test):
    """(outcome, name, reason) of a test and of the cases that it skipped."""
    name = test.get("name")
    output = test.findtext("system-out") or ""
    skipped = test.find("skipped")
    cases = skipped_cases(output)
    if test.get("status") == "run":
        yield "passed", name, ""
        for case, reason in cases:
            yield "skipped", f"{name} {case}".rstrip(), reason
    elif test.get("status") == "disabled":
        yield "skipped", name, "disabled"
    elif skipped is not None and skipped.get("message", "").startswith("SKIP_"):
        lines = output.strip().splitlines() or ["no reason given"]
        yield "skipped", name, cases[-1][1] if cases else lines[-1]
    else:
        yield "failed", name, ""


def main(files):
    for file in files:
        for test in ET.parse(file).getroot().iter("testcase"):
            for outcome, name, reason in results(test):
                print(outcome, name, reason, sep="\t")


main(sys.argv[1:])
