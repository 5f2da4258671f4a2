# SPDX-License-Identifier: BSD-2-Clause
"""The other side of tests/support/fault.c: makes one call of the C library fail in a daemon."""

import mmap
import os
import struct

from xbridge import binary, preloaded

HEADER = struct.Struct("=IIiiII128s")
CALL = struct.Struct("=24sQ")
CALLS_MAX = 128
ARMED, LEFT, ERROR = 4, 8, 12


def library():
    build = os.environ.get("XB_BUILD_DIR") or os.path.join(os.path.dirname(binary()), "../..")
    path = os.path.realpath(os.path.join(build, "tests/support/libxb-fault.so"))
    assert os.path.exists(path), f"no {path}: build it"
    return path


class Faults:
    """A board that a preloaded daemon shares; `wrap` are the words to be put in front of the daemon's command line."""

    def __init__(self, folder):
        path = os.path.join(folder, "board")
        with open(path, "wb") as file:
            file.truncate(HEADER.size + CALLS_MAX * CALL.size)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.wrap = [*preloaded(library()), f"XB_FAULT={path}"]

    def _header(self):
        return HEADER.unpack_from(self.memory, 0)

    def _calls(self):
        for i in range(self._header()[0]):
            name, calls = CALL.unpack_from(self.memory, HEADER.size + i * CALL.size)
            yield i, name.rstrip(b"\0").decode(), calls

    def calls(self):
        """How often each function was called, until now."""
        return {name: calls for _, name, calls in self._calls() if calls}

    def arm(self, name, nth, error):
        """The nth call from now on, 1 is the next, fails with this errno."""
        index = next(i for i, found, _ in self._calls() if found == name)
        self._put(ARMED, 0)
        self._put(LEFT, nth)
        self._put(ERROR, error)
        self._put(ARMED, index + 1)

    def disarm(self):
        """Returns whether the fault has happened since it was armed."""
        fired = self.fired() and self._header()[2] <= 0 and self._header()[1] != 0
        self._put(ARMED, 0)
        return fired

    def _put(self, at, value):
        struct.pack_into("=i", self.memory, at, value)

    def fired(self):
        return self._header()[4]

    def place(self):
        """Who called what failed last: FILE+OFFSET, for addr2line."""
        return self._header()[6].split(b"\0")[0].decode()
