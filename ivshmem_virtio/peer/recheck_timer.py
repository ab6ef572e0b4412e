# SPDX-License-Identifier: MIT
"""A descriptor that becomes readable again and again: what a waiter without interrupts waits on."""

from __future__ import annotations

import ctypes
import os
import time

# Python has os.timerfd_create() from 3.13 on only.
LIBC = ctypes.CDLL(None, use_errno=True)
TFD_NONBLOCK = os.O_NONBLOCK
TFD_CLOEXEC = os.O_CLOEXEC


class TimeSpec(ctypes.Structure):
    """struct timespec."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class TimerSpec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (("interval", TimeSpec), ("first", TimeSpec))


def recheck_timer(period: float) -> int:
    """A new timerfd that expires every ``period`` seconds, the first time after one period; raises OSError."""
    seconds, rest = divmod(period, 1)
    span = TimeSpec(int(seconds), max(int(rest * 1e9), 0 if seconds else 1))
    descriptor = LIBC.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if LIBC.timerfd_settime(descriptor, 0, ctypes.byref(TimerSpec(span, span)), None) < 0:
        error = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(error, os.strerror(error))
    return int(descriptor)
