# SPDX-License-Identifier: MIT
"""A split virtqueue as bytes: a driver that writes what it likes, where it likes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ivshmem_virtio.evil.driver.places import QueuePlace
from ivshmem_virtio.peer.link import Link

DESCRIPTOR = struct.Struct("<QIHH")
NEXT = 1
WRITE = 2
INDIRECT = 4


class RawRing:
    """Writes to one queue's ring; made together with it, so it begins with all zeroes."""

    packed = False

    def __init__(self, link: Link, place: QueuePlace) -> None:
        self.place = place
        self.size = place.size
        self.position = 0
        """Available index, free-running."""
        self._link = link
        self._window = link.window
        ring = place.ring
        link.window.zero(ring.desc, ring.end - ring.desc)
        self.memory = link.window.view(0, link.window.length)
        """The whole window, for ``struct.pack_into``: that is what makes mutants fast."""
        self.table, self.table_start = self.memory, ring.desc
        """Where descriptors of the ring are written, and from which byte on."""

    @property
    def index(self) -> int:
        """What a reader of the ring begins with, to see what is offered next."""
        return self.position

    def descriptor(self, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """One entry of the descriptor table."""
        DESCRIPTOR.pack_into(self.table, self.table_start + 16 * index, address, length, flags, following)

    def entry(self, table: int, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """One entry of an indirect table at window offset ``table``."""
        DESCRIPTOR.pack_into(self.memory, table + 16 * index, address, length, flags, following)

    def offer(self, heads: Sequence[int]) -> None:
        """Put heads into the available ring, and make them visible."""
        window, driver, mask = self._window, self.place.ring.driver, self.size - 1
        for head in heads:
            window.store16(driver + 4 + 2 * (self.position & mask), head)
            self.position = (self.position + 1) & 0xFFFF
        self.publish(self.position)

    def publish(self, index: int) -> None:
        """Store an available index, whatever it is."""
        self._window.store16(self.place.ring.driver + 2, index & 0xFFFF)

    def kick(self) -> None:
        """Ring without asking whether the device wants it."""
        self._link.ring(self.place.vector)

    @property
    def used(self) -> int:
        """The used index the device has published."""
        return self._window.load16(self.place.ring.device + 2)
