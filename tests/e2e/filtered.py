# SPDX-License-Identifier: BSD-2-Clause
"""Words before a command line that refuse it a system call."""

# Runs a command under a seccomp filter: NR:ERRNO refuses a system call, NR:ERRNO:ARG one whose first argument is ARG.
FILTER = """
import ctypes, struct, sys
nr, code, *arg = map(int, sys.argv[1].split(":"))
ops = [(0x20, 0, 0, 0), (0x15, 0, 3 if arg else 1, nr)]
ops += [(0x20, 0, 0, 16), (0x15, 0, 1, arg[0])] if arg else []
ops += [(0x06, 0, 0, 0x00050000 | code), (0x06, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in ops))
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(ops), ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, prog) == 0, ctypes.get_errno()
import os
os.execvp(sys.argv[2], sys.argv[2:])
"""


def filtered(*what):
    return ["/usr/bin/python3", "-c", FILTER, ":".join(map(str, what))]
