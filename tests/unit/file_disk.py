# SPDX-License-Identifier: MIT
"""A disk on a file with an io_uring, and its driver: no transport between, so that a test sees each turn of it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ivshmem_virtio.core import Bell, BlkEngine, Chain, DeviceQueue, DriverQueue, Uring, Window

SIZE = 256
WINDOW = 8 << 20
SLOT = 64 << 10
SLOTS = 1 << 20
READ, WRITE, FLUSH, DISCARD, WRITE_ZEROES = 0, 1, 4, 11, 13
STATUS = 16
DATA = 4096
"""Offsets in a slot; its header is at 0."""


class FileDisk:
    """One queue with both its ends; each request has a slot of the window to itself."""

    def __init__(self, path: Path, *, uring: Uring | None, direct: bool = False, packed: bool = False) -> None:
        memory = os.memfd_create("file-disk")
        os.ftruncate(memory, WINDOW)
        self.window = Window(memory, 0, WINDOW)
        os.close(memory)
        self.file = os.open(path, os.O_RDWR | (os.O_DIRECT if direct else 0))
        self.capacity = os.lseek(self.file, 0, os.SEEK_END)
        place = (self.window, SIZE, 4096, 8192, 12288)
        self.device = DeviceQueue(*place, event_idx=True, indirect=False, packed=packed)
        self.driver = DriverQueue(*place, event_idx=True, indirect=False, packed=packed)
        self.bell = Bell(self.window, 0)
        self.served: list[int] = []
        self.engine = BlkEngine(
            self.device,
            self.bell,
            self.serve,
            fd=self.file,
            capacity=self.capacity,
            read_only=False,
            direct=direct,
            uring=uring,
        )
        self.order: list[int] = []

    def serve(self, chain: Chain, error: int) -> int:
        """The server of requests: refuses, and notes why it was asked."""
        self.served.append(error)
        return chain.write(chain.writable_length - 1, b"\1")

    @staticmethod
    def at(slot: int) -> int:
        """Where the data of a slot is."""
        return SLOTS + slot * SLOT + DATA

    def add(self, slot: int, kind: int, offset: int = 0, length: int = 4096) -> None:
        """Put a request into a slot and make it visible."""
        start = SLOTS + slot * SLOT
        self.window.write(start, struct.pack("<IIQ", kind, 0, offset // 512))
        self.window.write(start + STATUS, b"\xff")
        data = [(start + DATA, length)] if kind != FLUSH else []
        readable = [(start, 16)] + (data if kind == WRITE else [])
        writable = (data if kind == READ else []) + [(start + STATUS, 1)]
        self.driver.add(readable, writable, slot)
        self.driver.publish()

    def add_range(self, slot: int, kind: int, offset: int, length: int, *, flags: int = 0) -> None:
        """Put a request about a range of bytes into a slot and make it visible."""
        start = SLOTS + slot * SLOT
        self.window.write(start, struct.pack("<IIQ", kind, 0, 0))
        self.window.write(start + STATUS, b"\xff")
        self.window.write(start + DATA, struct.pack("<QII", offset // 512, length // 512, flags))
        self.driver.add([(start, 16), (start + DATA, 16)], [(start + STATUS, 1)], slot)
        self.driver.publish()

    def collect(self) -> list[int]:
        """Slots whose requests have come back, in order; ``order`` has all of them."""
        back = []
        while (used := self.driver.get()) is not None:
            assert isinstance(used[0], int)
            back.append(used[0])
        self.order += back
        return back

    def status(self, slot: int) -> int:
        return self.window.load8(SLOTS + slot * SLOT + STATUS)

    def settle(self) -> None:
        """Serve until nothing is left."""
        while self.engine.serve() or self.device.in_flight:
            self.engine.settle()

    def close(self) -> None:
        self.engine.settle()
        os.close(self.file)
        self.window.close()


@contextmanager
def file_disk(path: Path, *, uring: Uring | None, direct: bool = False, packed: bool = False) -> Iterator[FileDisk]:
    """A disk until the end."""
    disk = FileDisk(path, uring=uring, direct=direct, packed=packed)
    try:
        yield disk
    finally:
        disk.close()
