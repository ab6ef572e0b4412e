# SPDX-License-Identifier: MIT
"""Lets signals end a performance, and nothing that has to be done before or after it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """SIGTERM and SIGINT, taken from construction on: a region half made or half given back would stay behind.

    Only the main thread may make one.
    """

    def __init__(self) -> None:
        self._came = False
        self._allowed = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        if self._allowed:
            self._allowed = False
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A signal that came before, or comes while this lasts, is raised here as KeyboardInterrupt, once."""
        self._allowed = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False
