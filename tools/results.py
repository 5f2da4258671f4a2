#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Reads ctest's JUnit files and prints one line a test: passed|failed|skipped, its name, the reason of a skip.

A test program that passes may have skipped some of its cases: cmocka, pytest (-rs) and `SKIP: reason` are
understood, and each such case is a line of its own. A skip that tests/allowed-skips has no line for is a failure.
"""

import fnmatch
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

CASE_SKIPPED = [
    re.compile(r"^SKIP (?P<case>\w+): (?P<reason>.*)"),
    re.compile(r"^\[  SKIPPED \] (?P<case>\w+)$"),
    re.compile(r"^SKIPPED \[\d+\] (?P<case>\S+): (?P<reason>.*)"),
    re.compile(r"^SKIP(PED)?: (?P<reason>.*)", re.IGNORECASE),
]


def read_allowed():
    """The pairs (pattern of a test's name, pattern of its reason) of tests/allowed-skips."""
    path = pathlib.Path(__file__).resolve().parent.parent / "tests" / "allowed-skips"
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def judge_skip(allowed, test, name, reason):
    """The row of a skip: skipped, or failed where nothing allows it."""
    if any(fnmatch.fnmatchcase(test, may) and fnmatch.fnmatchcase(reason, why) for may, why in allowed):
        return "skipped", name, reason
    return "failed", name, f"skipped, which tests/allowed-skips does not allow: {reason}"


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


def results(test, allowed):
    """(outcome, name, reason) of a test and of the cases that it skipped."""
    name = test.get("name")
    output = test.findtext("system-out") or ""
    skipped = test.find("skipped")
    cases = skipped_cases(output)
    if test.get("status") == "run":
        yield "passed", name, ""
        for case, reason in cases:
            yield judge_skip(allowed, name, f"{name} {case}".rstrip(), reason)
    elif test.get("status") == "disabled":
        yield judge_skip(allowed, name, name, "disabled")
    elif skipped is not None and skipped.get("message", "").startswith("SKIP_"):
        lines = output.strip().splitlines() or ["no reason given"]
        yield judge_skip(allowed, name, name, cases[-1][1] if cases else lines[-1])
    else:
        yield "failed", name, ""


def main(files):
    allowed = read_allowed()
    for file in files:
        for test in ET.parse(file).getroot().iter("testcase"):
            for outcome, name, reason in results(test, allowed):
                print(outcome, name, reason, sep="\t")


main(sys.argv[1:])
