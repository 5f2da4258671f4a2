#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What `cmake --install` puts there works from there, and goes again: test_install.py BUILD-DIRECTORY"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

BUILD = sys.argv[1]
WORDS = ["capture", "detach", "doctor", "explain", "fdb", "instances", "port", "run", "stats", "status", "steer"]
EXPECTED = ["sbin/xbridge", "lib/systemd/system/xbridge@.service", "lib/tmpfiles.d/xbridge.conf",
            "share/bash-completion/completions/xbridge", "share/zsh/site-functions/_xbridge", "share/man/man1/xbridge.1",
            "share/man/man7/xbridge-rules.7", "share/doc/xbridge/README.md", "share/doc/xbridge/LICENSE",
            "share/doc/xbridge/CHANGELOG.md", "share/doc/xbridge/docs/steering.md", "share/doc/xbridge/docs/adr/README.md",
            "share/doc/xbridge/examples/xbridge.conf", *(f"share/man/man1/xbridge-{word}.1" for word in WORDS)]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def files(root):
    return {os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names}


def complete(prefix, shell, line):
    """What a shell offers at the end of a line."""
    words, _, last = line.rpartition(" ")
    script = f"""
        source {prefix}/share/bash-completion/completions/xbridge
        COMP_WORDS=({words} "$LAST"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _xbridge; printf '%s\\n' "${{COMPREPLY[@]}}"
    """ if shell == "bash" else f"""
        compdef() {{ : }}; _files() {{ print -l -- FILES }}
        compadd() {{ shift; local word; for word in "$@"; do [[ $word == $LAST* ]] && print -r -- $word; done; true }}
        source {prefix}/share/zsh/site-functions/_xbridge
        words=({words} "$LAST"); CURRENT=$#words; PREFIX=$LAST; _xbridge
    """
    env = {"PATH": f"{prefix}/sbin:/usr/bin:/bin:/usr/sbin:/sbin", "LAST": last, "HOME": "/nonexistent"}
    return set(run(shell, *(["-f"] if shell == "zsh" else []), "-c", script, env=env).split())


COMPLETIONS = [
    ("xbridge st", {"status", "stats", "steer"}), ("xbridge port ", {"add", "del", "list", "set"}), ("xbridge steer lo", {"load"}),
    ("xbridge port set tap0 --", {"--queues", "--offload", "--learn-max", "--storm", "--name", "--json", "--help"}),
    ("xbridge run --up", {"--uplink"}), ("xbridge run --uplink l", {"lo"}), ("xbridge doctor l", {"lo"}),
    ("xbridge steer add tcp-", {"tcp-flags"}), ("xbridge steer add proto tcp d", {"dport", "dmac", "dst", "dscp", "drop"}),
    ("xbridge steer default p", {"pass"}), ("xbridge help fdb fl", {"flush"}), ("xbridge --json steer default dr", {"drop"}),
    ("xbridge stats --w", {"--watch"}), ("xbridge fdb add 02:00:00:00:00:01 p", {"port"}),
]


def check_unit(prefix):
    unit = f"{prefix}/lib/systemd/system/xbridge@.service"
    with open(unit) as file:
        text = file.read()
    assert "@XB" not in text and re.search(rf"^ExecStart={prefix}/sbin/xbridge run ", text, re.MULTILINE), text
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if "xbridge" in line]
        assert not said, said


def check_sample(prefix):
    """Each line of the sample is an option that `run` takes."""
    with open(f"{prefix}/share/doc/xbridge/examples/xbridge.conf") as file:
        options = [line[1:] for line in file if re.match(r"#[a-z]", line)]
    assert len(options) >= 8
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("".join(options) + "nonsense\n")  # which is the first that is refused
        file.flush()
        done = subprocess.run([f"{prefix}/sbin/xbridge", "run", "--config", file.name], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"line {len(options) + 1}: there is no option 'nonsense'" in done.stderr, done.stderr


def main():
    with tempfile.TemporaryDirectory() as prefix:
        run("cmake", "--install", BUILD, "--prefix", prefix)
        there = files(prefix)
        missing = set(EXPECTED) - there
        assert not missing, missing
        assert run(f"{prefix}/sbin/xbridge", "--version").startswith("xbridge ")
        for shell in filter(shutil.which, ("bash", "zsh")):
            for line, wanted in COMPLETIONS:
                offered = complete(prefix, shell, line)
                assert offered == wanted, f"{shell}: {line}: {offered}"
            print(f"{shell}: {len(COMPLETIONS)} completions")
        check_unit(prefix)
        check_sample(prefix)
        run("cmake", "--build", BUILD, "--target", "uninstall")
        assert not files(prefix), files(prefix)
        assert not os.path.exists(f"{prefix}/share/doc/xbridge")


main()
