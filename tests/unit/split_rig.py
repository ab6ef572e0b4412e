# SPDX-License-Identifier: MIT
"""A small window with a split ring that a test writes by hand."""

import os
import struct

from ivshmem_virtio.core import DeviceQueue, DriverQueue, Window
from ivshmem_virtio.transport.kept_layout import IN_FLIGHT_RECORD_SIZE, QUEUE_RECORD_SIZE

from .kept_record import RECORD, KeptRecord

LENGTH = 0x10000
DESC, DRIVER, DEVICE, TABLE, BUFFER = 0x1000, 0x2000, 0x3000, 0x4000, 0x8000
NEXT, WRITE, INDIRECT = 1, 2, 4


def memory_window(length: int = LENGTH) -> Window:
    fd = os.memfd_create("ivshmem-virtio-unit")
    try:
        os.ftruncate(fd, length)
        return Window(fd, 0, length)
    finally:
        os.close(fd)


class RawRing:
    """Plays the driver with plain stores, right or wrong, for a device queue; and the other way round."""

    def __init__(self, size: int = 8, length: int = LENGTH) -> None:
        self.window = memory_window(length)
        self.size = size
        self.added = 0

    def device(
        self, *, event_idx: bool = False, indirect: bool = True, minimum: int = 0, index: int = 0
    ) -> DeviceQueue:
        return DeviceQueue(
            self.window,
            self.size,
            DESC,
            DRIVER,
            DEVICE,
            event_idx=event_idx,
            indirect=indirect,
            minimum=minimum,
            index=index,
        )

    def driver(self, *, event_idx: bool = False, indirect: bool = True, index: int = 0) -> DriverQueue:
        return DriverQueue(
            self.window, self.size, DESC, DRIVER, DEVICE, event_idx=event_idx, indirect=indirect, index=index
        )

    def descriptor(
        self, index: int, address: int, length: int, flags: int = 0, following: int = 0, table: int = DESC
    ) -> None:
        self.window.write(table + 16 * index, struct.pack("<QIHH", address, length, flags, following))

    def make_available(self, *heads: int) -> None:
        for head in heads:
            self.window.store16(DRIVER + 4 + 2 * (self.added % self.size), head)
            self.added += 1
        self.window.store16(DRIVER + 2, self.added % 65536)

    def use(self, position: int, head: int, length: int) -> None:
        self.window.store32(DEVICE + 4 + 8 * (position % self.size), head)
        self.window.store32(DEVICE + 8 + 8 * (position % self.size), length)

    def used(self, position: int) -> tuple[int, int]:
        place = DEVICE + 4 + 8 * (position % self.size)
        return self.window.load32(place), self.window.load32(place + 4)

    @property
    def used_index(self) -> int:
        return self.window.load16(DEVICE + 2)


class KeptRing(RawRing, KeptRecord):
    """The same with device sides that keep a record and die without a word."""

    def __init__(self, size: int = 8) -> None:
        super().__init__(size)
        self.kept = memory_window(0x1000)
        self.record_length = QUEUE_RECORD_SIZE + size * IN_FLIGHT_RECORD_SIZE
        self.shared = (DEVICE, 4 + 8 * size)

    def device_side(self, *, resume: bool) -> DeviceQueue:
        return DeviceQueue(
            self.window, self.size, DESC, DRIVER, DEVICE, event_idx=True, indirect=True,
            record=self.kept, record_offset=RECORD, resume=resume,
        )  # fmt: skip

    def came_back(self) -> list[int]:
        """Heads in the used ring, as far as the driver may look."""
        return [self.used(position)[0] for position in range(self.used_index)]
