#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What is printed for people is whole: --help, the manual pages: test_manual.py XBRIDGE MAN-DIRECTORY"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Where no table is asked: what stands here can be typed, and has to be found.
COMMON = {"--name", "--json", "-j", "--help", "-h"}
OWN = {"port add": {"--uplink", "--kernel"}, "doctor": {"--bpffs"}, "detach": {"--bpffs"}, "explain": {"--bpffs"}, "stats": {"--watch"}, "port set": {"--queues", "--offload", "--learn-max", "--storm"},
       "steer list": {"-s"},
       "steer add": {"--confirm"}, "steer replace": {"--confirm"}, "steer del": {"--confirm"},
       "steer flush": {"--confirm"}, "steer default": {"--confirm"}, "steer load": {"--confirm", "--empty"},
       "capture": {"--drops", "-w", "-c", "--snap"}}
COMMANDS = {"run", "instances", "status", "stats reset", "port list", "port add", "port del", "fdb list", "fdb add", "fdb del", "fdb flush",
            "steer show", "steer check", "steer confirm", "steer revert", "doctor", "detach", *OWN}
WITHOUT_EXAMPLES = {"stats reset", "port list", "fdb list", "fdb del", "fdb flush", "steer confirm", "steer revert", "steer flush"}
OPTION = r"(?<![\w-])--?[a-z][a-z-]*"


def xbridge(*words, status=0):
    done = subprocess.run([sys.argv[1], *words], capture_output=True, text=True, check=False)
    assert done.returncode == status, (words, done)
    return done


def section(text, title):
    """The lines below a title, up to the next one."""
    found = re.search(rf"^{title}:\n((?:  .*\n|\n(?=  ))*)", text, re.MULTILINE)
    return found[1] if found else ""


def options(text):
    """The options that are explained: they begin a line."""
    return {name for line in re.findall(r"^  (-.*)", text, re.MULTILINE) for name in re.findall(OPTION, line.split("  ")[0])}


def check_width(text, what):
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert not wide, f"{what}: more than 80 columns: {wide}"
    assert not re.search(r"[ \t]$", text, re.MULTILINE), f"{what}: a blank at the end of a line"


def check_help():
    everything = xbridge("--help").stdout
    check_width(everything, "--help")
    assert everything == xbridge("help").stdout == xbridge("-h").stdout
    listed = set(re.findall(r"^  ([a-z]+(?: [a-z]+)?)(?:  |$)", section(everything, "Commands"), re.MULTILINE))
    assert listed == COMMANDS, listed ^ COMMANDS
    assert options(section(everything, "Options of all commands but run")) == COMMON

    for command in COMMANDS:
        text = xbridge("help", *command.split()).stdout
        assert text == xbridge(*command.split(), "--help").stdout == xbridge(*command.split(), "-h").stdout
        check_width(text, command)
        assert text.startswith(f"Usage: xbridge {command}")
        if command != "run":
            own = options(section(text, "Options"))
            assert own == OWN.get(command, set()), f"{command}: {own}"
            assert set(re.findall(OPTION, text.split("\n\n")[0])) <= own, f"{command}: its grammar"
            assert options(section(text, "Options of all commands")) == COMMON
        examples = re.findall(r"^  (xbridge .*)", section(text, "Examples"), re.MULTILINE)
        assert bool(examples) == (command not in WITHOUT_EXAMPLES), f"{command}: {examples}"
        assert all(line.startswith(f"xbridge {command}") for line in examples), f"{command}: {examples}"
    assert len(options(section(xbridge("help", "run").stdout, "Options"))) > 20


def rule_of(text):
    """The grammar of a rule, in one line."""
    return " ".join(re.search(r"RULE := ((?:.+\n)+)", text)[1].split())


def check_topics():
    for word in {command.split()[0] for command in COMMANDS if " " in command}:
        text = xbridge("help", word).stdout
        check_width(text, word)
        assert text == xbridge(word, "--help").stdout
        assert all(f"\n  {command} " in text for command in COMMANDS if command.split()[0] == word), text
    rules = xbridge("help", "rules").stdout
    check_width(rules, "rules")
    known = xbridge("explain", "nonsense", "x", status=2).stderr  # says which words a match has
    words = re.search(r"one of (.*), each once", known)[1].split(", ")
    grammar = rule_of(rules)
    for word in [*words, "prio", "to", "limit", "comment"]:
        explained = re.search(rf"^  {word} (\S+)", rules, re.MULTILINE)
        assert explained, f"rules: {word} is not explained"
        alone = f"{word} {explained[1]}"
        assert (f" {alone} [" if word == "to" else f"[{alone}]") in grammar, f"rules: '{alone}' is not in the grammar: {grammar}"
    with open(os.path.join(ROOT, "docs", "steering.md"), encoding="utf-8") as page:
        assert rule_of(page.read()) == grammar, "docs/steering.md: its RULE is not that of `xbridge help rules`"


def check_wrong_help():
    for words in ["help", "nonsense"], ["nonsense", "--help"], ["help", "port", "nonsense"], ["help", "status", "x"]:
        done = xbridge(*words, status=2)
        assert not done.stdout and "xbridge help" in done.stderr and done.stderr.count("\n") == 1, done


def check_pages(directory):
    pages = {}
    for name in os.listdir(directory):
        with open(os.path.join(directory, name)) as file:
            pages[name] = file.read()
    words = {command.split()[0] for command in COMMANDS}
    expected = {"xbridge.1", "xbridge-rules.7", *(f"xbridge-{word}.1" for word in words)}
    assert set(pages) == expected, set(pages) ^ expected
    for name, page in pages.items():
        assert "@" not in page.replace("-.@+", ""), f"{name}: not filled in"
        assert not re.search(r"^\.BR? .*(?<!\\)-", page, re.MULTILINE), f"{name}: a dash that is a hyphen"
        shown = subprocess.run(["groff", "-man", "-Tascii", "-ww", os.path.join(directory, name)], capture_output=True,
                               text=True, check=True)
        assert not shown.stderr, f"{name}: {shown.stderr}"
    for command in COMMANDS:
        text = pages[f"xbridge-{command.split()[0]}.1"].replace("\\-", "-")
        names = OWN.get(command, set())
        if command == "run":
            names = options(section(xbridge("help", "run").stdout, "Options"))
        part = text[text.index(f"\n.SS {command}\n"):].partition("\n.S")[0] + text[text.index(f"\n.SS {command}\n") + 3:]
        assert all(f"\n.B {name} " in part or f"\n.B {name}\n" in part for name in names), f"{command}: {names}"
        assert f"\n.B {command} " in pages["xbridge.1"].replace("\\-", "-") or \
            f"\n.B {command}\n" in pages["xbridge.1"].replace("\\-", "-"), command


check_help()
check_topics()
check_wrong_help()
check_pages(sys.argv[2])
