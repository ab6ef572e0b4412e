# SPDX-License-Identifier: MIT
"""One doorbell for several links: where vectors are scarce, each link still gets an eventfd of its own to wait on."""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Sequence

from ivshmem_virtio.link.layout import LinkLayout


class FanOut:
    """Copies each ring of a shared back-end vector to every link that uses it.

    An eventfd is drained by its first reader, so links on different workers could take each other's doorbells.
    """

    def __init__(self, loop: AbstractEventLoop, doorbells: Sequence[int], links: Sequence[LinkLayout]) -> None:
        self._loop = loop
        self._doorbells = doorbells
        uses = Counter(v for link in links for v in self._vectors(link))
        self._copies: dict[int, list[int]] = {vector: [] for vector, count in uses.items() if count > 1}
        for vector in self._copies:
            loop.add_reader(doorbells[vector], self._rung, vector)

    @staticmethod
    def _vectors(link: LinkLayout) -> range:
        return range(link.backend_vector, link.backend_vector + link.backend_vectors)

    def doorbells(self, link: LinkLayout) -> list[int]:
        """The eventfds for one link, by absolute vector: its own copy wherever the vector is shared."""
        own = self._vectors(link)
        return [self._doorbell(vector) if vector in own else fd for vector, fd in enumerate(self._doorbells)]

    def _doorbell(self, vector: int) -> int:
        if vector not in self._copies:
            return self._doorbells[vector]
        copy = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._copies[vector].append(copy)
        return copy

    def _rung(self, vector: int) -> None:
        try:
            os.eventfd_read(self._doorbells[vector])
        except BlockingIOError:
            return
        for copy in self._copies[vector]:
            os.eventfd_write(copy, 1)

    def close(self) -> None:
        """Stop copying and close the copies."""
        for vector, copies in self._copies.items():
            self._loop.remove_reader(self._doorbells[vector])
            for copy in copies:
                os.close(copy)
