# SPDX-License-Identifier: MIT
"""How a driver brings one queue up: size, place, vectors, enable (docs/protocol.md, 4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ivshmem_virtio.core import DriverQueue
from ivshmem_virtio.link.layout import Capability, Header, PackedPlacement, SplitPlacement, ring_placement
from ivshmem_virtio.transport.driver.backend import read_ring_block
from ivshmem_virtio.transport.driver.errors import (
    QueueBusy,
    QueueMissing,
    QueueRefused,
    QueueSizeInvalid,
    QueueSizeRefused,
    RingBlockInvalid,
)
from ivshmem_virtio.transport.driver.queue import DriverVirtqueue
from ivshmem_virtio.transport.features import Feature

if TYPE_CHECKING:
    from ivshmem_virtio.transport.driver.transport import DriverTransport

LARGEST_QUEUE = 32768
RingPlacement = SplitPlacement | PackedPlacement


class QueueSetup:
    """The steps for queue ``index`` of one driver."""

    def __init__(self, driver: DriverTransport, index: int) -> None:
        self._driver = driver
        self._window = driver.link.window
        self._index = index

    def run(self, size: int | None, host_placed: bool) -> DriverVirtqueue:
        """See ``DriverTransport.setup_queue``."""
        driver, window = self._driver, self._window
        driver.write_register(Header.QUEUE_SEL, self._index)
        largest = self._largest()
        chosen = self._choose(size, largest)
        device_vector = window.load16(Header.QUEUE_DEVICE_VECTOR)
        placed = self._adopt(chosen, largest) if host_placed else None
        own = None
        if placed is None:
            own = driver.pool.allocate(ring_placement(0, chosen, packed=self._packed).end)
            placed = ring_placement(own, chosen, packed=self._packed)
        try:
            return self._enable(chosen, placed, device_vector, own)
        except BaseException:
            if own is not None:
                driver.pool.release(own)
            raise

    def _largest(self) -> int:
        if self._window.load16(Header.QUEUE_ENABLE):
            raise QueueBusy(f"queue {self._index} is enabled already: reset it, or the device, first")
        largest = self._window.load16(Header.QUEUE_SIZE)
        if largest == 0:
            raise QueueMissing(f"the device has no queue {self._index}")
        if largest > LARGEST_QUEUE or largest & (largest - 1):
            raise QueueSizeInvalid(
                f"queue {self._index} has a largest size of {largest}: not a power of two up to {LARGEST_QUEUE}"
            )
        return largest

    def _choose(self, size: int | None, largest: int) -> int:
        chosen = largest if size is None else size
        if not 0 < chosen <= largest or chosen & (chosen - 1):
            raise QueueSizeRefused(f"queue {self._index}: size {chosen} is not a power of two up to {largest}")
        return chosen

    def _adopt(self, size: int, largest: int) -> RingPlacement | None:
        """Where the host wants the ring; None when it leaves that to the driver. Raises RingBlockInvalid."""
        backend = self._driver.backend
        if Capability.HOST_PLACED_RINGS not in self._driver.capabilities:
            return None
        block = read_ring_block(self._window, backend, self._index)
        if block is None:
            return None
        start, length = block
        if size != largest:
            placed = ring_placement(start, size, packed=self._packed)
        else:
            window = self._window
            desc, driver, device = (
                window.load64(field) for field in (Header.QUEUE_DESC, Header.QUEUE_DRIVER, Header.QUEUE_DEVICE)
            )
            kind = PackedPlacement if self._packed else SplitPlacement
            placed = kind(desc, driver, device, device + self._part_lengths(size)[2])
        self._check(placed, size, start, start + length)
        return placed

    def _check(self, placed: RingPlacement, size: int, start: int, end: int) -> None:
        starts = placed.desc, placed.driver, placed.device
        parts = sorted(zip(starts, self._part_lengths(size), strict=True))
        aligned = placed.desc % 16 == 0 and placed.driver % (4 if self._packed else 2) == 0 and placed.device % 4 == 0
        position = start
        for offset, length in parts:
            if offset < position:
                aligned = False
            position = offset + length
        if not aligned or position > end:
            raise RingBlockInvalid(
                f"queue {self._index}: ring at {placed.desc:#x}, {placed.driver:#x}, {placed.device:#x} for {size} "
                f"descriptors does not lie properly in its block {start:#x} to {end:#x}"
            )

    @property
    def _packed(self) -> bool:
        return bool(self._driver.features & Feature.RING_PACKED)

    def _part_lengths(self, size: int) -> tuple[int, int, int]:
        """Bytes of the three parts of a ring (virtio 1.4, 2.7 and 2.8.10.1)."""
        return (16 * size, 4, 4) if self._packed else (16 * size, 6 + 2 * size, 6 + 8 * size)

    def _vector(self) -> int:
        """Own vector for used buffers: one each where they last, the one behind vector 0 for all, or vector 0."""
        vectors = self._driver.link.vectors
        return 1 + self._index % (vectors - 1) if vectors > 1 else 0

    def _enable(self, size: int, placed: RingPlacement, device_vector: int, own: int | None) -> DriverVirtqueue:
        driver, window, features = self._driver, self._window, self._driver.features
        indirect = bool(features & Feature.INDIRECT_DESC)
        ring = DriverQueue(
            window,
            size,
            placed.desc,
            placed.driver,
            placed.device,
            packed=self._packed,
            event_idx=bool(features & Feature.EVENT_IDX),
            indirect=indirect,
        )
        vector = self._vector()
        driver.write_register(Header.QUEUE_SIZE, size)
        driver.write_register(Header.QUEUE_DRIVER_VECTOR, vector)
        driver.write_register(Header.QUEUE_DESC, placed.desc)
        driver.write_register(Header.QUEUE_DRIVER, placed.driver)
        driver.write_register(Header.QUEUE_DEVICE, placed.device)
        driver.write_register(Header.QUEUE_ENABLE, 1)
        if window.load16(Header.QUEUE_ENABLE) != 1:
            raise QueueRefused(f"the device did not enable queue {self._index} with {size} descriptors")
        return DriverVirtqueue(
            self._index,
            size,
            window,
            driver.pool,
            ring,
            vector=vector,
            indirect=indirect,
            own_ring=own,
            ring_device=partial(driver.ring_queue, device_vector),
            clear_event=self._event_clearer(),
        )

    def _event_clearer(self) -> partial[None]:
        extension = self._driver.backend.extension
        if extension is None or Capability.EVENT_BYTES not in self._driver.capabilities:
            return partial(self._clear, Header.QUEUE_EVENT)
        if self._index >= extension.queue_count:
            return partial(self._clear, Header.QUEUE_EVENT)
        return partial(self._clear, extension.event_byte(self._index))

    def _clear(self, offset: int) -> None:
        """Clear an event byte, then a full barrier, before the queue is looked at (docs/protocol.md, 8)."""
        self._window.store8(offset, 0)
        self._window.fence()
