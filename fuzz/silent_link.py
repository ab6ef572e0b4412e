# SPDX-License-Identifier: MIT
"""A link in this process's own memory whose doorbells nobody hears: it is looked at when the script says so."""

from __future__ import annotations

import os

from fuzz.guarded import PAGE, guarded_window
from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, LinkLayout, State
from ivshmem_virtio.link.state_table import entry_offset
from ivshmem_virtio.peer.doorbells import Rope
from ivshmem_virtio.peer.v1 import V1Link

FRONTEND_ID = 11
BACKEND_ID = 7


class Ears:
    """The other side's doorbells: all that is known of them is that the numbers are those of this link."""

    def __init__(self, first: int, count: int) -> None:
        self._allowed = range(first, first + count)

    def ring(self, vector: int) -> None:
        assert vector in self._allowed, f"vector {vector} belongs to another link"

    def bell(self, vector: int) -> Rope | None:
        """Nothing that runs beside the script: queues are served while it looks."""
        return None


class SilentLink:
    """Both guarded sections, mapped once, and a back-end's or a front-end's view of them."""

    def __init__(self, window: int, vectors: int = 3) -> None:
        self.table = guarded_window(PAGE)
        self.window: Window = guarded_window(window)
        self.layout = LinkLayout("fuzzed", 42, 2 * PAGE, window, 5, vectors, 3, vectors, BACKEND_ID)
        doorbells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(5 + vectors)]
        self.backend = self._side(BACKEND, doorbells, Ears(5, vectors), FRONTEND_ID)
        self.frontend = self._side(FRONTEND, doorbells, Ears(3, vectors), BACKEND_ID)

    def _side(self, index: int, doorbells: list[int], ears: Ears, other: int) -> V1Link:
        return V1Link(self.layout, index, self.table, self.window, doorbells, ears, lambda claimed: claimed == other)

    def clear(self) -> None:
        """As if nobody had ever been here."""
        self.window.zero(0, self.window.length)
        self.table.zero(0, self.table.length)

    def set_other_state(self, index: int, value: int) -> None:
        """The State Table entry of a side that only plays itself."""
        self.table.store32(entry_offset(index), value)

    @property
    def backend_absent(self) -> bool:
        return self.table.load32(entry_offset(BACKEND)) == State.ABSENT
