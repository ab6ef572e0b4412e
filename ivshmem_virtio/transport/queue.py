# SPDX-License-Identifier: MIT
"""A virtqueue as a device sees it: chains come out, chains go back, and the driver is told once per batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ivshmem_virtio.core import Chain, DeviceQueue

LOOK_SECONDS = 0.005
"""A queue whose chains take longer than this gives way to its neighbours on the worker."""


class Queue:
    """One enabled virtqueue of an active device.

    ``notify`` rings the driver for this queue; it is called at most once for each batch of pushed chains, and only when
    the driver's event suppression asks for it (virtio 1.4, 2.7.7).
    """

    def __init__(self, index: int, ring: DeviceQueue, notify: Callable[[], None]) -> None:
        self.index = index
        self.ring = ring
        self.unfinished = False
        """Set when ``chains`` stopped with more waiting, so that the transport calls the device again."""
        self.notify = notify
        """Rings the driver; for compiled code that publishes by itself."""
        self._pushed = False

    @property
    def size(self) -> int:
        """Number of descriptors."""
        return self.ring.size

    def take(self) -> Chain | None:
        """The next available chain, with no word to the driver about kicks."""
        return self.ring.pop()

    def pop(self) -> Chain | None:
        """The next available chain; None arms the driver's next kick, which calls ``handle_queue``."""
        chain = self.take()
        if chain is None and self.ring.enable_notifications():
            chain = self.take()
        return chain

    def chains(self) -> Iterator[Chain]:
        """Up to one ring of chains, and no more after 5 ms, so that one busy queue cannot keep a worker for itself.

        Kicks are suppressed meanwhile. Where more is waiting afterwards ``handle_queue`` is called again, unless the
        caller left the loop early: then it is the caller who comes back.
        """
        self.ring.disable_notifications()
        left_early = True
        until = time.monotonic() + LOOK_SECONDS
        try:
            for _ in range(self.ring.size):
                chain = self.take()
                if chain is None:
                    break
                yield chain
                if time.monotonic() > until:
                    break
            left_early = False
        finally:
            # Kicks are asked for again even on the way out of an early break; what is waiting by then was seen.
            waiting = self.ring.enable_notifications()
            self.unfinished = waiting and not left_early

    def push(self, chain: Chain, written: int) -> None:
        """Give a chain back, ``written`` bytes of its writable part filled; the driver sees it at ``flush``."""
        self.ring.push(chain, written)
        self._pushed = True

    def flush(self) -> None:
        """Publish pushed chains and notify the driver if it wants to know."""
        if self._pushed:
            self._pushed = False
            if self.ring.publish():
                self.notify()
