# SPDX-License-Identifier: MIT
"""One doorbell for several links: where vectors are scarce, each link still gets an eventfd of its own to wait on."""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Sequence

from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.transport.doorbell_watch import DOORBELL_RATE, DoorbellWatch


class FanOut:
    """Copies each ring of a shared back-end vector to every link that uses it.

    An eventfd is drained by its first reader, so links on different workers could take each other's doorbells.
    ``rate``: how many a second are copied at most.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        doorbells: Sequence[int],
        links: Sequence[LinkLayout],
        rate: int = DOORBELL_RATE,
    ) -> None:
        self._doorbells = doorbells
        uses = Counter(v for link in links for v in self._vectors(link))
        self._copies: dict[int, list[int]] = {vector: [] for vector, count in uses.items() if count > 1}
        self._shared = list(self._copies)
        waiters = [doorbells[vector] for vector in self._shared]
        self._watch = DoorbellWatch(loop, waiters, self._rung, lambda: None, rate)
        self._watch.start()

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

    def _rung(self, position: int) -> None:
        vector = self._shared[position]
        try:
            os.eventfd_read(self._doorbells[vector])
        except BlockingIOError:
            return
        for copy in self._copies[vector]:
            os.eventfd_write(copy, 1)

    def close(self) -> None:
        """Stop copying and close the copies."""
        self._watch.stop()
        for copies in self._copies.values():
            for copy in copies:
                os.close(copy)
