# SPDX-License-Identifier: MIT
"""A descriptor chain as a driver of a split virtqueue made it (virtio 1.4, 2.7.5), followed within bounds."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field

from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.evil.backend.memory import Memory

NEXT, WRITE, INDIRECT = 1, 2, 4
DESCRIPTOR = struct.Struct("<QIHH")
LONGEST = 1024
LARGEST = 1 << 20


@dataclass
class Chain:
    """One request: where the device may read and where it may write, as (offset, length) in the window."""

    head: int
    readable: list[tuple[int, int]] = field(default_factory=list)
    writable: list[tuple[int, int]] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Bytes the device may write, as far as is sensible: lengths may be this program's own garbage."""
        return min(sum(length for _, length in self.writable), LARGEST)

    def bytes_of(self, memory: Memory) -> bytes:
        """All that the device may read, up to a megabyte."""
        return b"".join(memory.read(at, min(length, LARGEST)) for at, length in self.readable)

    def fill(self, memory: Memory, data: bytes) -> int:
        """Write as much of ``data`` as there is room for; returns how much that was."""
        done = 0
        for at, length in self.writable:
            part = data[done : done + length]
            if not part:
                break
            memory.write(at, part)
            done += len(part)
        return done


def follow(memory: Memory, table: int, size: int, head: int) -> Chain:
    """The chain that begins at ``head`` of a descriptor table; it ends early where it makes no sense."""
    chain = Chain(head)
    with suppress(OutsideWindow):
        _follow(memory, table, size, head, chain)
    return chain


def _follow(memory: Memory, table: int, size: int, index: int, chain: Chain) -> None:
    for _ in range(LONGEST):
        if index >= size:
            return
        at, length, flags, following = DESCRIPTOR.unpack(memory.read(table + 16 * index, 16))
        if flags & INDIRECT:
            table, size, index = at, length // 16, 0
            continue
        (chain.writable if flags & WRITE else chain.readable).append((at, length))
        if not flags & NEXT:
            return
        index = following
