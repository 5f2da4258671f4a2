#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""xbridge(1), as the build makes it, has each command and each option that can be typed: test_manual.py XBRIDGE PAGE"""

import re
import subprocess
import sys

# Where no table is asked: what stands here can be typed, and has to be found.
COMMON = {"--name", "--json", "-j", "--help", "-h"}
OWN = {"stats": {"--watch"}, "port set": {"--queues", "--learn-max", "--storm"}, "steer list": {"-s"},
       "steer load": {"--confirm"}, "capture": {"--drops", "-w", "-c", "--snap"}}
COMMANDS = {"status", "port list", "fdb list", "fdb add", "fdb del", "fdb flush", "steer add", "steer del", "steer confirm",
            "steer flush", "steer default", "explain", "doctor", "detach", *OWN}
OPTION = r"(?<![\w-])--?[a-z][a-z-]*"


def options(text):
    return set(re.findall(OPTION, text))


def entries(section):
    """What is explained in a section of the page, and below each command what it has."""
    found, command = {}, None
    for line in section.splitlines():
        entry = re.match(r"\.BR? (.*)", line)
        if entry:
            words = re.sub(r'\\f[RI]|" "', "", entry[1])
            name = re.match(r"([a-z]+(?: [a-z]+)?) ?", words)
            if name and not words.startswith("-"):
                command = name[1].strip()
                found[command] = set()
                args = options(words)
                assert args <= OWN.get(command, set()), f"{command}: {args} in its usage"
            else:
                found.setdefault(command, set()).update(options(words))
    return found


def main():
    xbridge, path = sys.argv[1:]
    with open(path) as file:
        page = file.read()
    assert "@TABLES@" not in page and not re.search(r"^\.BR? .*(?<!\\)-", page, re.MULTILINE), "a dash that is a hyphen"
    sections = dict(re.findall(r"^\.SH (.*)\n((?:(?!\.SH ).*\n)*)", page.replace("\\-", "-"), re.MULTILINE))

    commands = entries(sections["COMMANDS"])
    assert set(commands) == COMMANDS, set(commands) ^ COMMANDS
    for command in COMMANDS:
        assert commands[command] == OWN.get(command, set()), f"{command}: {commands[command]}"
    assert entries(sections["OPTIONS OF ALL COMMANDS BUT RUN"]) == {None: COMMON}

    help_of_run = subprocess.run([xbridge, "run", "--help"], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^  (--[a-z-]+)", help_of_run, re.MULTILINE))
    assert len(names) > 20 and entries(sections["OPTIONS OF RUN"]) == {None: names}

    help_of_all = subprocess.run([xbridge, "--help"], capture_output=True, text=True, check=True).stdout
    missing = COMMON.union(*OWN.values()) - options(help_of_all)
    assert not missing and all(f"\n  {command}" in help_of_all for command in COMMANDS), missing


main()
