# SPDX-License-Identifier: MIT
"""One link in the hands of a hostile driver: enough good manners to be let in, and nothing between it and the bytes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.evil.driver.errors import DeviceLost
from ivshmem_virtio.evil.driver.packed_ring import PackedRawRing
from ivshmem_virtio.evil.driver.places import QueuePlace, Shown, queue_places
from ivshmem_virtio.evil.driver.ring import RawRing
from ivshmem_virtio.evil.driver.waiting import PATIENCE, settled
from ivshmem_virtio.link.layout import Header, LinkLayout, State
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.driver.backend import Backend, read_backend
from ivshmem_virtio.transport.driver.errors import BackendViolation, DriverError
from ivshmem_virtio.transport.driver.handshake import Handshake
from ivshmem_virtio.transport.driver.survey import MOST_QUEUES
from ivshmem_virtio.transport.driver.transport import EVERYTHING
from ivshmem_virtio.transport.features import Feature, Status
from ivshmem_virtio.transport.transaction import SIZES, Transaction

READY_FOR_QUEUES = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK
RECOVERY_TRIES = 8

Shape = tuple[int, ...]


def shape_of(backend: Backend) -> Shape:
    """Everything of a header that a back-end never changes, not even when it starts afresh."""
    extension = backend.extension
    rest = (extension.offset, extension.length, extension.queue_count, extension.config_vector) if extension else ()
    return (backend.revision, backend.size, backend.config_length, *rest)


class Target:
    """A device and its window. ``seconds`` bounds the wait for one answer, ``memory`` is the shared memory,
    ``region`` all of it mapped; ``packed``: with packed rings, where they are offered.

    Scenarios write to ``window`` whatever they like; ``recover`` makes of the device what it was.
    """

    def __init__(
        self,
        link: Link,
        layout: LinkLayout,
        memory: int,
        region: Window,
        *,
        peer_id: int | None = None,
        seconds: float = 1.0,
        packed: bool = False,
    ) -> None:
        self.link = link
        self.layout = layout
        self.memory = memory
        self.region = region
        self.window = link.window
        self.seconds = seconds
        self.slowest = self.slowest_ever = 0.0
        self.transactions = 0
        self.resets = 0
        self.accepted = 0
        self.rings: list[RawRing] = []
        self._sequence = 0
        self._handshake = Handshake(link, PATIENCE, EVERYTHING, peer_id)
        self._shape: Shape | None = None
        self.backend = self._meet()
        self._shape = shape_of(self.backend)
        offered = self._read_features()
        self.packed = packed and bool(offered & Feature.RING_PACKED)
        self.offered = offered if self.packed else offered & ~int(Feature.RING_PACKED)
        self.places = self._look_at_queues()

    # -- being let in -------------------------------------------------------------------------------------------------

    def _meet(self) -> Backend:
        """A new incarnation, acknowledged. The header may have been overwritten before: the back-end writes it again
        when a front-end has left.
        """
        deadline = time.monotonic() + RECOVERY_TRIES * self.seconds
        while True:
            self.link.set_state(State.ABSENT)
            settled(self._header_is_back, self.seconds)
            try:
                return self._handshake.meet(min(deadline, time.monotonic() + self.seconds))[0]
            except (BackendViolation, DriverError) as error:
                if time.monotonic() >= deadline:
                    raise DeviceLost(f"link {self.layout.name!r}: no driver is let in any more: {error}") from None
                PATIENCE.nap()

    def _header_is_back(self) -> bool:
        """Random bytes may look like the header of another back-end, of revision 1 even, with which there is nothing to
        agree on: what was there at first is what is waited for.
        """
        try:
            return self._shape in (None, shape_of(read_backend(self.window)))
        except BackendViolation:
            return False

    def _read_features(self) -> int:
        self.reset()
        features = 0
        for word in (1, 0):
            self.write(Header.DEVICE_FEATURES_SEL, word)
            features |= self.window.load32(Header.DEVICE_FEATURES) << 32 * word
        return features

    def _look_at_queues(self) -> list[QueuePlace]:
        shown: list[Shown] = []
        for index in range(MOST_QUEUES):
            self.write(Header.QUEUE_SEL, index)
            size = self.window.load16(Header.QUEUE_SIZE)
            if not size:
                break
            shown.append(Shown(index, size, self.window.load16(Header.QUEUE_DEVICE_VECTOR)))
        return queue_places(self.window, self.backend, shown, packed=self.packed)

    # -- registers ----------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Whether it came true in time; the longest such wait is remembered."""
        began = time.monotonic()
        met = settled(condition, self.seconds if seconds is None else seconds)
        if met:
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            self.slowest_ever = max(self.slowest_ever, took)
        return met

    def post(self, word: int) -> bool:
        """Store a transaction word, ring, and wait; whether the back-end cleared it."""
        self.transactions += 1
        window = self.window
        window.store32(Header.WRITE_TRANSACTION, word)
        self.link.ring(self.backend.config_vector)
        return self.wait(lambda: window.load32(Header.WRITE_TRANSACTION) == 0)

    def write(self, field: int, value: int) -> bool:
        """A register, as the protocol has it written; whether the back-end took notice."""
        size = SIZES[field][0]
        self.window.write(field, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
        self._sequence += 1
        return self.post(Transaction.of(field, size, self._sequence).word)

    @property
    def status(self) -> int:
        return self.window.load32(Header.DEVICE_STATUS) & 0xFF

    @property
    def broken(self) -> bool:
        return bool(self.status & Status.NEEDS_RESET)

    def reset(self) -> bool:
        """Whether the status reads 0 afterwards."""
        self.resets += 1
        self.rings = []
        return self.write(Header.DEVICE_STATUS, 0) and self.status == 0

    # -- at work ------------------------------------------------------------------------------------------------------

    def accept(self, features: int) -> None:
        """The feature bits of the driver, from a reset device."""
        self.accepted = features
        for word in (1, 0):
            self.write(Header.DRIVER_FEATURES_SEL, word)
            self.write(Header.DRIVER_FEATURES, features >> 32 * word & 0xFFFFFFFF)

    def bring_up(self, without: int = 0) -> bool:
        """From wherever the device is to a working one with all its queues; whether that worked."""
        if not self.reset():
            return False
        self.accept(self.offered & ~without)
        self.write(Header.DEVICE_STATUS, READY_FOR_QUEUES)
        for place in self.places:
            if not self.enable(place):
                return False
        self.write(Header.DEVICE_STATUS, READY_FOR_QUEUES | Status.DRIVER_OK)
        return self.status == READY_FOR_QUEUES | Status.DRIVER_OK

    def enable(self, place: QueuePlace) -> bool:
        """Clear the ring of a queue and have it enabled."""
        ring = PackedRawRing(self.link, place) if self.packed else RawRing(self.link, place)
        self.rings.append(ring)
        self.write(Header.QUEUE_SEL, place.index)
        # Where the header shows what we want already, that many answers need not be waited for.
        wanted = {
            Header.QUEUE_DESC: place.ring.desc,
            Header.QUEUE_DRIVER: place.ring.driver,
            Header.QUEUE_DEVICE: place.ring.device,
        }
        for field, address in wanted.items():
            if self.window.load64(field) != address:
                self.write(field, address)
        if self.window.load16(Header.QUEUE_SIZE) != place.size:
            self.write(Header.QUEUE_SIZE, place.size)
        self.write(Header.QUEUE_ENABLE, 1)
        return self.window.load16(Header.QUEUE_ENABLE) == 1

    def recover(self, *, anew: bool = False) -> None:
        """A working device again, whatever was done to it; ``anew``: for another driver. Raises DeviceLost."""
        for attempt in range(RECOVERY_TRIES):
            if attempt or anew:
                self._meet()
            if self.bring_up():
                return
        raise DeviceLost(
            f"link {self.layout.name!r}: the device does not work again after {RECOVERY_TRIES} resets, its status is "
            f"{self.status:#x}"
        )

    def leave(self) -> None:
        """Reset the device and go."""
        with contextlib.suppress(IvshmemVirtioError):
            self.reset()
        self.link.set_state(State.ABSENT)
