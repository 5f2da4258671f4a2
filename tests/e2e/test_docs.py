# SPDX-License-Identifier: BSD-2-Clause
"""The commands of README.md and docs/*.md do what is said there, line by line, on real traffic."""

import glob
import os
import re

import pytest

from documents import Shell, blocks
from xbridge import ROOT

PAGES = ["README.md", *sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs", "*.md")))]


def test_shell_runs_lines_jobs_and_endless_commands():
    with Shell() as shell:
        assert shell.type("false").status == 1
        done = shell.type("echo one; echo two")
        assert (done.status, done.output) == (0, "one\ntwo\n")
        shell.type("sleep 100 &")
        assert re.search("Running +sleep 100", shell.type("jobs").output)
        assert shell.type("while :; do echo tick; sleep 0.1; done", until="tick\ntick").status == 130
        shell.type("kill %1")
        shell.type("wait")
        assert shell.type("jobs").output == ""


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_can_be_read(page):
    for block in blocks(page):
        assert block.commands, f"{block.place}: nothing to type"
