# SPDX-License-Identifier: MIT
"""The eventfds that interrupt one other peer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Rope(NamedTuple):
    """An eventfd to write to. Where ``version`` is another than before, so may be the file behind the same number."""

    descriptor: int
    """-1 where the vector does not exist now."""
    version: int


class Ringer(Protocol):
    """Anything that can interrupt one peer."""

    def ring(self, vector: int) -> None:
        """Ring the peer's absolute vector ``vector``; nothing happens where it does not exist."""

    def bell(self, vector: int) -> Rope | None:
        """The eventfd that does it, for code that rings it itself; None where no eventfd does."""


class Doorbells:
    """Vector to eventfd of one peer, which may come, go and change while links ring it. Owns no descriptor."""

    def __init__(self, descriptors: Sequence[int] = ()) -> None:
        self._descriptors: list[int] = []
        self._version = 0
        self.replace(descriptors)

    def replace(self, descriptors: Sequence[int]) -> None:
        """Ring these from now on; an empty sequence means that the peer is gone."""
        for descriptor in descriptors:
            # A blocking eventfd whose counter somebody drove to its maximum would stop the writer for ever.
            os.set_blocking(descriptor, False)
        self._descriptors = list(descriptors)
        self._version += 1

    def __len__(self) -> int:
        return len(self._descriptors)

    def ring(self, vector: int) -> None:
        """Interrupt the peer on ``vector``; a missing vector or a full counter (rung already) is no error."""
        if 0 <= vector < len(self._descriptors):
            ring_eventfd(self._descriptors[vector])

    def bell(self, vector: int) -> Rope:
        """The eventfd of a vector as it is now."""
        descriptors, version = self._descriptors, self._version
        return Rope(descriptors[vector] if 0 <= vector < len(descriptors) else -1, version)


def ring_eventfd(descriptor: int) -> None:
    """Add 1 to a non-blocking eventfd; a full counter means that it is readable already."""
    try:
        os.eventfd_write(descriptor, 1)
    except BlockingIOError:
        return
