# SPDX-License-Identifier: MIT
"""A packed virtqueue as bytes, behind the same calls as a split one: chains are written to a table that nobody sees, by
head and ``following``, and laid into the ring one behind the other when they are offered.
"""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.evil.driver.places import QueuePlace
from ivshmem_virtio.evil.driver.ring import DESCRIPTOR, NEXT, RawRing
from ivshmem_virtio.peer.link import Link

AVAIL, USED = 1 << 7, 1 << 15
WRAP, SLOT = 0x8000, 0x7FFF
FLAGS = 14


class PackedRawRing(RawRing):
    """A head is the buffer id of its chain."""

    packed = True

    def __init__(self, link: Link, place: QueuePlace) -> None:
        super().__init__(link, place)
        self.table = memoryview(bytearray(DESCRIPTOR.size * place.size))
        self.table_start = 0
        self._next = self._taken = WRAP
        """Positions: a slot with the wrap counter in bit 15."""
        self._used = 0
        self._slots: dict[int, int] = {}
        """What is offered: slots by buffer id."""

    @property
    def index(self) -> int:
        return self._next

    def entry(self, table: int, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """Where one of the ring has its buffer id there is nothing; flags come last, and NEXT means nothing there."""
        DESCRIPTOR.pack_into(self.memory, table + 16 * index, address, length, following, flags)

    def offer(self, heads: Sequence[int]) -> None:
        """Lay chains into the ring, the first descriptor of each last: that is what makes it visible."""
        for head in heads:
            self._lay(head, self._chain(head % self.size))
            self.position = (self.position + 1) & 0xFFFF

    def _chain(self, head: int) -> list[tuple[int, int, int]]:
        """Address, length and flags of what a head leads to; one that has no end gets as far as the ring does."""
        found: list[tuple[int, int, int]] = []
        while True:
            address, length, flags, following = DESCRIPTOR.unpack_from(self.table, DESCRIPTOR.size * head)
            found.append((address, length, flags))
            if not flags & NEXT or len(found) > self.size:
                return found
            head = following % self.size

    def _lay(self, buffer_id: int, chain: list[tuple[int, int, int]]) -> None:
        first = position = self._next
        visible = 0
        for number, (address, length, flags) in enumerate(chain):
            marks = AVAIL if position & WRAP else USED
            # A descriptor that was given marks of its own keeps them, unless the device waits for just that one.
            if not number or not flags & (AVAIL | USED):
                flags = flags & ~(AVAIL | USED) | marks
            place = self.place.ring.desc + DESCRIPTOR.size * (position & SLOT)
            if number:
                DESCRIPTOR.pack_into(self.memory, place, address, length, buffer_id, flags)
            else:
                visible = flags
                self._window.store64(place, address)
                self._window.store32(place + 8, length)
                self._window.store16(place + 12, buffer_id)
            position = self._step(position, 1)
        self._window.store16(self.place.ring.desc + DESCRIPTOR.size * (first & SLOT) + FLAGS, visible)
        self._next = position
        self._slots[buffer_id] = len(chain)

    def _step(self, position: int, count: int) -> int:
        slot = (position & SLOT) + count
        while slot >= self.size:
            position, slot = position ^ WRAP, slot - self.size
        return position & WRAP | slot

    @property
    def used(self) -> int:
        """As many as came back, free-running like ``position``."""
        while True:
            place = self.place.ring.desc + DESCRIPTOR.size * (self._taken & SLOT)
            flags = self._window.load16(place + FLAGS) & (AVAIL | USED)
            buffer_id = self._window.load16(place + 12)
            if flags != (AVAIL | USED if self._taken & WRAP else 0) or buffer_id not in self._slots:
                return self._used
            self._taken = self._step(self._taken, self._slots.pop(buffer_id))
            self._used = (self._used + 1) & 0xFFFF
