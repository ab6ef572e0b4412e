# SPDX-License-Identifier: MIT
"""Keeps whoever can cause a log line from filling the log with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ivshmem_virtio.transport.allowance import Allowance

LINES_PER_SECOND = 1
BURST_SECONDS = 20.0

Kind = tuple[str, ...]


def kind_of(record: logging.LogRecord) -> Kind:
    """Logger, words, and the classes of the exceptions that are put into them."""
    values = record.args if isinstance(record.args, tuple) else ()
    return (record.name, str(record.msg), *(type(value).__name__ for value in values if isinstance(value, Exception)))


class LogLimit(logging.Filter):
    """Lets through a burst of lines of one kind, then one a second, which tells how many were left out before it.

    Lines are of one kind where logger and words are the same, whatever the numbers in them, and the same rule was
    broken. There are as many kinds as the program has places that log, and rules, so this needs no bound of its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[Kind, Allowance] = {}
        self._left_out: dict[Kind, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is printed."""
        kind = kind_of(record)
        allowance = self._kinds.setdefault(kind, Allowance(LINES_PER_SECOND, BURST_SECONDS))
        now = self._clock()
        if allowance.wait(now) > 0:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        allowance.spend(now)
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} lines like this were left out)"
            record.args = ()
        return True
