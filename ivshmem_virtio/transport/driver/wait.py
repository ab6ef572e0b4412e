# SPDX-License-Identifier: MIT
"""Waiting for another peer: always asleep, always bounded, never relying on a doorbell alone."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

SHORTEST_NAP = 20e-6
LONGEST_NAP = 5e-3


class Patience:
    """How a driver waits. ``pause`` replaces every sleep where the other side runs in the same thread (tests)."""

    def __init__(
        self, pause: Callable[[float], None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.now = clock
        self._pause = pause

    def until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """True as soon as ``condition()`` is; False when the clock passes ``deadline`` (seconds of ``now``) first."""
        nap = SHORTEST_NAP
        while not condition():
            left = deadline - self.now()
            if left <= 0:
                return condition()
            (self._pause or time.sleep)(min(nap, left))
            nap = min(nap * 2, LONGEST_NAP)
        return True

    def nap(self) -> None:
        """Let the other side get on, before something is tried again from its beginning."""
        (self._pause or time.sleep)(LONGEST_NAP)

    def readable(self, files: set[int], seconds: float) -> None:
        """Sleep until one of ``files`` is readable, ``seconds`` at most."""
        if self._pause:
            self._pause(seconds)
            return
        poller = select.poll()
        for file in files:
            poller.register(file, select.POLLIN)
        poller.poll(max(seconds, 0) * 1000)
