# SPDX-License-Identifier: MIT
"""A link of an ivshmem v1 region: State Table in shared memory, doorbells as the peers' vectors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, PAGE_SIZE, LinkLayout
from ivshmem_virtio.link.state_table import entry_offset
from ivshmem_virtio.memory.slices import window_of
from ivshmem_virtio.peer.doorbells import Ringer, Rope
from ivshmem_virtio.peer.errors import NoOwnVectors
from ivshmem_virtio.peer.link import Link


class V1Link(Link):
    """Either side of a link. Owns its two mappings; descriptors stay with whoever gave them."""

    def __init__(
        self,
        layout: LinkLayout,
        index: int,
        state_table: Window,
        window: Window,
        own_vectors: Sequence[int],
        other: Ringer,
        other_peer_is: Callable[[int], bool],
    ) -> None:
        """``own_vectors``: descriptors by absolute vector of the own peer. Raises NoOwnVectors when there are none."""
        self.layout = layout
        self.index = index
        self.window = window
        self._state_table = state_table
        self._other = other
        self._other_peer_is = other_peer_is
        self._waiters = link_vectors(layout, index, own_vectors)
        self.vectors = len(self._waiters)
        for descriptor in self._waiters:
            os.set_blocking(descriptor, False)
        if index == BACKEND:
            self._first, self._count = layout.frontend_vector, layout.frontend_vectors
        else:
            self._first, self._count = layout.backend_vector, layout.backend_vectors

    @classmethod
    def map(
        cls,
        memory: int,
        layout: LinkLayout,
        index: int,
        own_vectors: Sequence[int],
        other: Ringer,
        other_peer_is: Callable[[int], bool],
    ) -> V1Link:
        """Map the link's slices of the region ``memory`` and nothing else; the descriptor is not kept.

        Raises OutsideRegion when the region is too small (or has been truncated) for the layout, and NoOwnVectors.
        """
        state_table = window_of(memory, layout.offset, PAGE_SIZE)
        try:
            window = window_of(memory, layout.window_offset, layout.rw_size)
        except BaseException:
            state_table.close()
            raise
        try:
            return cls(layout, index, state_table, window, own_vectors, other, other_peer_is)
        except BaseException:
            state_table.close()
            window.close()
            raise

    def own_state(self) -> int:
        return self._state_table.load32(entry_offset(self.index))

    def set_state(self, value: int) -> None:
        self._state_table.store32(entry_offset(self.index), value)
        self._state_table.fence()
        self.ring(0)

    def other_state(self) -> int:
        return self._state_table.load32(entry_offset(BACKEND if self.index == FRONTEND else FRONTEND))

    def ring(self, vector: int) -> None:
        # The number may come from the other side: it must not reach vectors of other links.
        if 0 <= vector < self._count:
            self._other.ring(self._first + vector)

    def bell(self, vector: int) -> Rope | None:
        return self._other.bell(self._first + vector if 0 <= vector < self._count else -1)

    def fileno(self, vector: int) -> int:
        return self._waiters[vector if 0 <= vector < self.vectors else 0]

    def acknowledge(self, vector: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.fileno(vector), 8)

    def other_peer_is(self, peer_id: int) -> bool:
        return self._other_peer_is(peer_id)

    def close(self) -> None:
        self._state_table.close()
        self.window.close()


def link_vectors(layout: LinkLayout, index: int, own_vectors: Sequence[int]) -> list[int]:
    """The own descriptors for a link, by link-relative vector: as many as there are, else the peer's vector 0."""
    if not own_vectors:
        raise NoOwnVectors(f"link {layout.name!r}: this peer has no vector to be interrupted by; give it at least 1")
    first, count = layout.frontend_vector, layout.frontend_vectors
    if index == BACKEND:
        first, count = layout.backend_vector, layout.backend_vectors
    return list(own_vectors[first : first + count]) or [own_vectors[0]]
