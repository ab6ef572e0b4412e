# SPDX-License-Identifier: MIT
"""One link's window inside a region that is mapped as a whole: a hostile peer is held back by no mapping."""

from __future__ import annotations

from ivshmem_virtio.core import Window

_MASK = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}


class Memory:
    """Little-endian words by offset from ``base``; values are cut to their size, and nothing leaves the region."""

    def __init__(self, region: Window, base: int, size: int) -> None:
        self.region = region
        self.base = base
        self.size = size

    def load(self, offset: int, size: int) -> int:
        """A word of 1, 2, 4 or 8 bytes, in one load where it is aligned."""
        at = self.base + offset
        if at % size:
            return int.from_bytes(self.region.read(at, size), "little")
        if size == 8:
            return self.region.load64(at)
        if size == 4:
            return self.region.load32(at)
        return self.region.load16(at) if size == 2 else self.region.load8(at)

    def store(self, offset: int, size: int, value: int) -> None:
        """The inverse of ``load``."""
        at, value = self.base + offset, value & _MASK[size]
        if at % size:
            self.region.write(at, value.to_bytes(size, "little"))
        elif size == 8:
            self.region.store64(at, value)
        elif size == 4:
            self.region.store32(at, value)
        elif size == 2:
            self.region.store16(at, value)
        else:
            self.region.store8(at, value)

    def exchange(self, offset: int, expected: int, desired: int) -> bool:
        """Compare-and-swap of a 32-bit word."""
        return self.region.compare_exchange32(self.base + offset, expected, desired)

    def read(self, offset: int, length: int) -> bytes:
        """A copy."""
        return self.region.read(self.base + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Copy in."""
        self.region.write(self.base + offset, data)
