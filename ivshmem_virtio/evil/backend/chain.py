# SPDX-License-Identifier: MIT
"""One request of a driver, as a device sees it in either layout of a ring (virtio 1.4, 2.7.5 and 2.8.5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ivshmem_virtio.evil.backend.memory import Memory

NEXT, WRITE, INDIRECT = 1, 2, 4
DESCRIPTOR_SIZE = 16
AT_LENGTH = 8
LONGEST = 1024
LARGEST = 1 << 20


@dataclass
class Chain:
    """Where the device may read and where it may write, as (offset, length) in the window.

    ``head``: what brings it back, the index of its first descriptor or, in a packed ring, its buffer id. ``step``: by
    how much it moves the used position on.
    """

    head: int
    step: int = 1
    readable: list[tuple[int, int]] = field(default_factory=list)
    writable: list[tuple[int, int]] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Bytes the device may write, as far as is sensible: lengths may be this program's own garbage."""
        return min(sum(length for _, length in self.writable), LARGEST)

    def add(self, at: int, length: int, flags: int) -> None:
        """One more descriptor."""
        (self.writable if flags & WRITE else self.readable).append((at, length))

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
