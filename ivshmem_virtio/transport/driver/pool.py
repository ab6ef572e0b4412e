# SPDX-License-Identifier: MIT
"""Buffers of a driver: first fit in the part of a window that the back-end leaves to it."""

from __future__ import annotations

from bisect import bisect_left

from ivshmem_virtio.link.layout import LINE_SIZE, round_up
from ivshmem_virtio.transport.driver.errors import PoolExhausted, PoolMisuse


class Pool:
    """Room from ``start`` to ``end`` (window offsets), handed out in whole lines of 64 bytes."""

    def __init__(self, start: int, end: int) -> None:
        first = round_up(start, LINE_SIZE)
        last = end - end % LINE_SIZE
        self._free: list[tuple[int, int]] = [(first, last)] if first < last else []
        self._taken: dict[int, int] = {}

    @property
    def available(self) -> int:
        """Free bytes, possibly in several pieces."""
        return sum(end - start for start, end in self._free)

    @property
    def buffers(self) -> int:
        """Number of buffers handed out."""
        return len(self._taken)

    def allocate(self, length: int) -> int:
        """Window offset of ``length`` bytes, aligned to 64; raises PoolExhausted."""
        wanted = round_up(max(length, 1), LINE_SIZE)
        for position, (start, end) in enumerate(self._free):
            if end - start >= wanted:
                rest = [(start + wanted, end)] if start + wanted < end else []
                self._free[position : position + 1] = rest
                self._taken[start] = wanted
                return start
        raise PoolExhausted(f"no {length} bytes in one piece among {self.available} free ones: use a larger window")

    def release(self, offset: int) -> None:
        """Take back what ``allocate`` returned; raises PoolMisuse for anything else."""
        length = self._taken.pop(offset, None)
        if length is None:
            raise PoolMisuse(f"window offset {offset:#x} is no buffer of this pool, or was given back already")
        start, end = offset, offset + length
        position = bisect_left(self._free, (start, end))
        if position < len(self._free) and self._free[position][0] == end:
            end = self._free.pop(position)[1]
        if position > 0 and self._free[position - 1][1] == start:
            position -= 1
            start = self._free.pop(position)[0]
        self._free.insert(position, (start, end))
