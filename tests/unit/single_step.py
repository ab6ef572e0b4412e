# SPDX-License-Identifier: MIT
"""What a process that is killed leaves in shared memory, for every instant it can be killed at.

A child runs under ptrace, one machine instruction at a time; each new content of the memory is noted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable
from typing import NoReturn

TRACEME, CONTINUE, SINGLE_STEP = 0, 7, 9
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def ptrace(request: int, pid: int) -> None:
    if LIBC.ptrace(request, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def every_instant(action: Callable[[], None], memory: Callable[[], bytes]) -> list[bytes]:
    """All contents of ``memory`` in their order, the first and the last included, while a child runs ``action``."""
    seen = [memory()]
    pid = os.fork()
    if pid == 0:
        _traced(action)
    status = _wait(pid)
    assert os.WIFSTOPPED(status), f"the child could not be traced: status {status}"
    try:
        while True:
            ptrace(SINGLE_STEP, pid)
            status = _wait(pid)
            if not os.WIFSTOPPED(status):
                break
            now = memory()
            if now != seen[-1]:
                seen.append(now)
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert status == 0, f"the child ended with status {status}"
    return seen


def _wait(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def _traced(action: Callable[[], None]) -> NoReturn:
    try:
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        action()
        os._exit(0)
    finally:
        os._exit(1)
