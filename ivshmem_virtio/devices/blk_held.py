# SPDX-License-Identifier: MIT
"""Requests that a disk holds until they are due. Nothing of them has been carried out yet."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush
from itertools import count

from ivshmem_virtio.core import Chain
from ivshmem_virtio.transport.queue import Queue


class Held:
    """Requests by the time they are due. While ``wake`` is awaited nobody else has to look."""

    def __init__(self, loop: AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._order = count()
        self._requests: list[tuple[float, int, Queue, Chain]] = []
        self._timer: TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def now(self) -> float:
        """The time, in seconds, on the clock that requests are due by."""
        return self._loop.time()

    def add(self, due: float, queue: Queue, chain: Chain) -> None:
        """Hold a request until ``due``, on the loop's clock."""
        heappush(self._requests, (due, next(self._order), queue, chain))

    def take(self, now: float) -> tuple[Queue, Chain] | None:
        """The request that has been due the longest; None where none is."""
        if not self._requests or self._requests[0][0] > now:
            return None
        _, _, queue, chain = heappop(self._requests)
        return queue, chain

    def sleep(self) -> None:
        """Have ``wake`` called when the next request is due."""
        self.stay()
        if self._requests:
            self._timer = self._loop.call_at(self._requests[0][0], self._wake)

    def stay(self) -> None:
        """Let nothing happen until ``sleep``."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def keep_only(self, queues: Collection[Queue | None]) -> None:
        """Forget the requests of all other queues: their driver has given them up."""
        self._requests = [request for request in self._requests if request[2] in queues]
        heapify(self._requests)
