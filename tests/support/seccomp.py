"""Runs a command without some system calls, as an older kernel or a container's filter would:

python seccomp.py ERRNO NUMBER[,NUMBER…] COMMAND…    (the calls with these numbers fail with this errno)
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h; the number is the first word of the data
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


def deny(number: int, calls: list[int]) -> None:
    """Have these system calls fail with this errno from now on, in this process and its children."""
    steps = [(_LOAD, 0, 0, 0)]
    steps += [(_IF_EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _FAIL | number)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    deny(int(sys.argv[1]), [int(number) for number in sys.argv[2].split(",")])
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606
