# SPDX-License-Identifier: MIT
"""A virtqueue in a driver's hands: requests go in as bytes, come back as bytes, buffers come from the window's pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ivshmem_virtio.core import DriverQueue, Window
from ivshmem_virtio.transport.driver.errors import RequestTooLong
from ivshmem_virtio.transport.driver.pool import Pool


class Request:
    """One chain between ``submit`` and its return. ``written``: bytes the device says it wrote, None while out."""

    def __init__(self, readable: list[tuple[int, int]], writable: list[tuple[int, int]], table: int | None) -> None:
        self.readable = readable
        self.writable = writable
        self.table = table
        self.written: int | None = None
        self.buffers: list[bytes] = []
        """Whole content of each writable segment, copied when the request comes back."""

    @property
    def data(self) -> bytes:
        """What the device wrote, as far as its ``written`` goes; empty while the request is out."""
        return b"".join(self.buffers)[: self.written]


class DriverVirtqueue:
    """One enabled queue. ``ring_device`` rings the back-end for it, ``clear_event`` clears its event byte.

    ``own_ring``: the pool buffer the ring lies in, None when the host placed it.
    """

    def __init__(
        self,
        index: int,
        size: int,
        window: Window,
        pool: Pool,
        ring: DriverQueue,
        *,
        vector: int,
        indirect: bool,
        own_ring: int | None,
        ring_device: Callable[[], None],
        clear_event: Callable[[], None],
    ) -> None:
        self.index = index
        self.size = size
        self.vector = vector
        """Own link-relative vector for used buffers."""
        self._window = window
        self._pool = pool
        self._ring = ring
        self._indirect = indirect
        self._own_ring = own_ring
        self._ring_device = ring_device
        self._clear_event = clear_event
        self._out: set[Request] = set()

    @property
    def ring(self) -> DriverQueue:
        """The ring itself, for those who bring buffers of their own: no requests may be submitted beside them."""
        return self._ring

    @property
    def outstanding(self) -> int:
        """Requests the device has not returned."""
        return len(self._out)

    @property
    def free(self) -> int:
        """Free descriptors."""
        return self._ring.free

    def submit(self, readable: Sequence[bytes], writable: Sequence[int]) -> Request:
        """Queue a request of these readable parts and writable lengths; not visible to the device before ``kick``.

        Raises RequestTooLong, PoolExhausted, RingFull.
        """
        parts = len(readable) + len(writable)
        if parts > self.size:
            # The back-end says how large a queue can be, so this is no error of the caller alone.
            raise RequestTooLong(
                f"queue {self.index}: a request of {parts} parts in a queue of {self.size} descriptors"
            )
        taken: list[int] = []
        try:
            request = self._place(readable, writable, taken)
            self._ring.add(request.readable, request.writable, request, request.table)
        except BaseException:
            for offset in taken:
                self._pool.release(offset)
            raise
        self._out.add(request)
        return request

    def _place(self, readable: Sequence[bytes], writable: Sequence[int], taken: list[int]) -> Request:
        def room(length: int) -> int:
            taken.append(self._pool.allocate(length))
            return taken[-1]

        sources = [(room(len(part)), len(part)) for part in readable]
        for (offset, _), part in zip(sources, readable, strict=True):
            self._window.write(offset, part)
        sinks = [(room(length), length) for length in writable]
        parts = len(sources) + len(sinks)
        table = room(16 * parts) if self._indirect and parts > 1 else None
        return Request(sources, sinks, table)

    def kick(self) -> None:
        """Make what was submitted visible, and ring if the device wants that."""
        if self._ring.publish():
            self._ring_device()

    def ring_always(self) -> None:
        """Ring without asking: after an absence, whatever was rung before is lost."""
        self._ring.publish()
        self._ring_device()

    def collect(self) -> list[Request]:
        """Requests that have come back; raises a RingViolation for a used ring that makes no sense."""
        self._clear_event()
        returned = []
        while (used := self._ring.get()) is not None:
            token, written = used
            assert isinstance(token, Request)
            returned.append(token)
            self._finish(token, written)
        return returned

    def _finish(self, request: Request, written: int) -> None:
        request.buffers = [self._window.read(offset, length) for offset, length in request.writable]
        request.written = written
        self._release(request)

    def _release(self, request: Request) -> None:
        for offset, _ in request.readable + request.writable:
            self._pool.release(offset)
        if request.table is not None:
            self._pool.release(request.table)
        self._out.discard(request)

    def arm(self) -> bool:
        """Ask for an interrupt with the next return; True when something is back already."""
        return self._ring.enable_callbacks()

    def abandon(self) -> None:
        """After a reset nothing comes back any more: give all buffers to the pool."""
        for request in list(self._out):
            self._release(request)
        if self._own_ring is not None:
            self._pool.release(self._own_ring)
            self._own_ring = None
