# SPDX-License-Identifier: MIT
"""A small window with a packed ring, and a driver's half that a test plays by hand, right or wrong."""

from __future__ import annotations

import struct

from ivshmem_virtio.core import DeviceQueue, DriverQueue
from ivshmem_virtio.transport.kept_layout import COPY_SIZE, IN_FLIGHT_RECORD_SIZE, QUEUE_RECORD_SIZE, QueueRecord

from .kept_record import RECORD, KeptRecord
from .split_rig import LENGTH, memory_window

DESC, DRIVER, DEVICE, TABLE, BUFFER = 0x1000, 0x2000, 0x3000, 0x4000, 0x8000
NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15
FLAGS = 14
START = 0x8000
ENABLE, DISABLE, AT = 0, 1, 2

Element = tuple[int, int, int]
"""Address, length, flags without AVAIL and USED."""


def step(position: int, count: int, size: int) -> int:
    slot = (position & 0x7FFF) + count
    return position + count if slot < size else (position & 0x8000 ^ 0x8000) | (slot - size)


class PackedRing:
    """Offers lists of descriptors and takes back what the device side has marked used."""

    def __init__(self, size: int = 8, length: int = LENGTH) -> None:
        self.window = memory_window(length)
        self.size = size
        self.avail = START
        self.taken = START
        self.slots: dict[int, int] = {}
        """Descriptors by buffer id."""

    def device(self, *, event_idx: bool = False, indirect: bool = True, minimum: int = 0) -> DeviceQueue:
        return DeviceQueue(
            self.window, self.size, DESC, DRIVER, DEVICE,
            packed=True, event_idx=event_idx, indirect=indirect, minimum=minimum,
        )  # fmt: skip

    def driver(self, *, event_idx: bool = False, indirect: bool = True) -> DriverQueue:
        return DriverQueue(
            self.window, self.size, DESC, DRIVER, DEVICE, packed=True, event_idx=event_idx, indirect=indirect
        )

    def descriptor(self, slot: int, address: int, length: int, buffer_id: int, flags: int, table: int = DESC) -> None:
        self.window.write(table + 16 * slot, struct.pack("<QIHH", address, length, buffer_id, flags))

    def offer(self, buffer_id: int, *elements: Element) -> None:
        """Make a list available, its first descriptor last."""
        places = [step(self.avail, number, self.size) for number in range(len(elements))]
        for number, (place, (address, length, flags)) in reversed([*enumerate(zip(places, elements, strict=True))]):
            flags |= AVAIL if place & 0x8000 else USED
            flags |= NEXT if number + 1 < len(elements) else 0
            self.descriptor(place & 0x7FFF, address, length, buffer_id, flags)
        self.avail = step(self.avail, len(elements), self.size)
        self.slots[buffer_id] = len(elements)

    def flags(self, slot: int) -> int:
        return self.window.load16(DESC + 16 * slot + FLAGS)

    def use(self, buffer_id: int, length: int) -> None:
        """Play the device: mark the next slot used."""
        slot = DESC + 16 * (self.taken & 0x7FFF)
        self.window.store32(slot + 8, length)
        self.window.store16(slot + 12, buffer_id)
        self.window.store16(slot + FLAGS, WRITE | (AVAIL | USED if self.taken & 0x8000 else 0))

    def take_back(self) -> list[int]:
        """Buffer ids that came back since, as far as the driver may look."""
        found = []
        while self.flags(self.taken & 0x7FFF) & (AVAIL | USED) == (AVAIL | USED if self.taken & 0x8000 else 0):
            found.append(self.window.load16(DESC + 16 * (self.taken & 0x7FFF) + 12))
            self.taken = step(self.taken, self.slots[found[-1]], self.size)
        return found


class KeptRing(PackedRing, KeptRecord):
    """The same with device sides that keep a record and die without a word."""

    def __init__(self, size: int = 8) -> None:
        super().__init__(size)
        self.kept = memory_window(0x1000)
        self.kept.store32(RECORD + QueueRecord.RING_LARGEST, size)
        self.record_length = QUEUE_RECORD_SIZE + size * (IN_FLIGHT_RECORD_SIZE + COPY_SIZE)
        self.shared = (DESC, 16 * size)

    def device_side(self, *, resume: bool, answered_at: int | None = None) -> DeviceQueue:
        return DeviceQueue(
            self.window, self.size, DESC, DRIVER, DEVICE, packed=True, event_idx=True, indirect=True,
            record=self.kept, record_offset=RECORD, resume=resume, answered_at=answered_at,
        )  # fmt: skip

    def copy(self, index: int) -> tuple[int, int, int, int]:
        """Address, length, flags and next of a private copy."""
        at = RECORD + QUEUE_RECORD_SIZE + self.size * IN_FLIGHT_RECORD_SIZE + COPY_SIZE * index
        address, length, flags, following = struct.unpack("<QIHH", self.kept.read(at, COPY_SIZE))
        return address, length, flags, following
