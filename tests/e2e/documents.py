# SPDX-License-Identifier: BSD-2-Clause
"""The commands in the documents, and a shell that a person could have typed them into.

In README.md and docs/*.md a fenced block with the word `sh` is something to type. It is run by a test, as it stands:

    for block in blocks("docs/recipes.md"):        # those of a page, in order
        block.heading, block.place                 # the heading above it; "docs/recipes.md:17", for messages
        block.commands                             # its lines: comments and blank lines left out, continued lines joined

    with Shell(bed.in_host()) as shell:            # an interactive bash, with the xbridge under test on its PATH
        done = shell.type("xbridge run --uplink eth0 &")      # waits for the prompt; done.status, done.output
        shell.type("xbridge stats --watch", until="tap0")     # waits for that text, then ^C
        shell.start("xbridge run --uplink eth0", "ready")     # the same in two steps, for what runs in the foreground
        shell.interrupt()

One with one more word (`sh dispatcher`) takes what not every host has: a test of its own types blocks(page, "sh dispatcher").

Everything else (diagrams, output, grammar, files) is indented or fenced with another word, or none.
"""

import os
import pty
import re
import select
import signal
import subprocess
import time
from dataclasses import dataclass

from xbridge import PATIENCE, ROOT, binary


@dataclass
class Block:
    page: str
    line: int  # of the opening fence, from 1 on
    heading: str
    lines: list

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self):
        joined = re.sub(r"\\\n\s*", "", "\n".join(self.lines)).splitlines()
        return [line for line in joined if line.strip() and not line.lstrip().startswith("#")]


def blocks(page, word="sh"):
    """The blocks of a page (a path in the tree) that are fenced with that word."""
    found, heading, block = [], "", None
    with open(os.path.join(ROOT, page)) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if block:
                if line.startswith("```"):
                    block = None
                else:
                    block.lines.append(line)
            elif line.startswith("```"):
                block = Block(page, number, heading, [])
                if line[3:].strip() == word:
                    found.append(block)
            elif re.match(r"#+ ", line):
                heading = line.lstrip("# ")
    assert not block, f"{block.place}: a fence that is not closed"
    return found


@dataclass
class Done:
    status: int
    output: str


class Shell:
    """An interactive bash on a terminal of its own."""

    PROMPT = re.compile(r"<xb:(\d+)>")  # what comes after it is of jobs in the background

    def __init__(self, enter=(), cwd=None, env=None):
        """enter: words before `bash`, which then takes its place (Bed.in_host(), for one)."""
        self.master, terminal = pty.openpty()
        path = f"{os.path.dirname(binary())}:{os.environ['PATH']}"
        env = {**os.environ, **(env or {}), "PATH": path, "PS1": "<xb:$?>", "PS2": "", "TERM": "dumb", "EDITOR": "true"}
        self.process = subprocess.Popen([*enter, "bash", "--norc", "--noprofile", "-i"], stdin=terminal, stdout=terminal,
                                        stderr=terminal, cwd=cwd, env=env, start_new_session=True, preexec_fn=self._own_terminal)
        os.close(terminal)
        self.text = ""  # all that was shown since the last prompt
        self._wait(self._prompt, 10)
        self.type("stty -echo -onlcr columns 200; bind 'set enable-bracketed-paste off'")

    @staticmethod
    def _own_terminal():
        import fcntl  # pylint: disable=import-outside-toplevel
        import termios  # pylint: disable=import-outside-toplevel
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started the test may ignore or block it
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # nobody has the terminal open any more
            data = b""
        assert data, f"the shell has ended; it said: {self.text}"
        self.text += data.decode(errors="replace")
        return True

    def _wait(self, condition, seconds):
        end = time.monotonic() + seconds * PATIENCE
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"not within {seconds * PATIENCE} s; the terminal shows: {self.text}"
            self._read(left)

    def _prompt(self):
        return self.PROMPT.search(self.text)

    def wait_for(self, pattern, seconds=20):
        """Waits until a job in the background has written what matches."""
        self._wait(lambda: re.search(pattern, self.text), seconds)

    def type(self, line, until=None, seconds=60):
        """Types a line, and waits for the next prompt; `until`: for text that matches it first, and then types ^C."""
        if until:
            self.start(line, until, seconds)
            return self.interrupt(seconds)
        self._send(line)
        return self._done(seconds)

    def start(self, line, until, seconds=60):
        """Types a line, and waits for text that matches."""
        self._send(line)
        self._wait(lambda: re.search(until, self.text), seconds)

    def interrupt(self, seconds=60):
        """Types ^C, and waits for the prompt. bash goes on with a loop whose command has just ended when ^C comes: a
        person types it again."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            os.write(self.master, b"\x03")
            try:
                return self._done(2)
            except AssertionError:
                if time.monotonic() > end:
                    raise

    def _send(self, line):
        self.text = ""
        os.write(self.master, line.encode() + b"\n")

    def _done(self, seconds):
        self._wait(self._prompt, seconds)
        prompt = self._prompt()
        return Done(int(prompt[1]), self.text[:prompt.start()])

    def close(self):
        """Ends the shell, and what runs in its background."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGHUP)
        try:
            self.process.wait(10 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
