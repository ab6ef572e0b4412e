# SPDX-License-Identifier: MIT
"""A slow, obvious packed virtqueue after the text of virtio 1.4, 2.8: what the compiled rings are compared with.

It shares nothing with the compiled rings but the names of the exceptions. A place in the ring is a pair of slot and
wrap counter; nothing is cached and nothing is clever.
"""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio import errors

from .split_model import DESC, F_INDIRECT, F_NEXT, F_WRITE, LONGEST, Layout, ModelChain, Segment

AVAIL, USED = 1 << 7, 1 << 15
ENABLE, DISABLE, AT_DESCRIPTOR = 0, 1, 2


@dataclass(frozen=True)
class Place:
    slot: int
    wrap: int

    def after(self, count: int, size: int) -> Place:
        place = self
        for _ in range(count):
            place = Place(0, 1 - place.wrap) if place.slot + 1 == size else Place(place.slot + 1, place.wrap)
        return place

    @property
    def available(self) -> int:
        return AVAIL if self.wrap else USED

    @property
    def used(self) -> int:
        return AVAIL | USED if self.wrap else 0


START = Place(0, 1)


class Ring:
    """Descriptors and event suppression in memory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.size = layout.size

    def get(self, place: Place) -> tuple[int, int, int, int]:
        """Address, length, buffer id, flags."""
        address, length, buffer_id, flags = DESC.unpack_from(self.layout.memory, self.layout.desc + 16 * place.slot)
        return address, length, buffer_id, flags

    def put(self, place: Place, address: int, length: int, buffer_id: int, flags: int) -> None:
        DESC.pack_into(self.layout.memory, self.layout.desc + 16 * place.slot, address, length, buffer_id, flags)

    def marks(self, place: Place) -> int:
        return self.get(place)[3] & (AVAIL | USED)

    def ask(self, area: int, flags: int, place: Place) -> None:
        self.layout.put16(area, place.slot | place.wrap << 15)
        self.layout.put16(area + 2, flags)

    def wanted(self, area: int, written: list[Place]) -> bool:
        """Whether the other side wants to know that these places were written."""
        flags = self.layout.get16(area + 2) & 3
        if flags == DISABLE:
            return False
        if flags != AT_DESCRIPTOR or not self.layout.event_idx:
            return True
        word = self.layout.get16(area)
        return Place(word & 0x7FFF, word >> 15) in written


class PackedModelDevice:
    """The device's half."""

    def __init__(self, layout: Layout) -> None:
        self.ring = Ring(layout)
        self.layout = layout
        self.next_avail = self.next_used = START
        self.held: dict[int, int] = {}
        """Descriptors by buffer id."""
        self.taken = 0
        """Descriptors that are the device's, those of chains that were pushed and not shown included."""
        self.pushed: list[tuple[int, int]] = []

    def pending(self) -> int:
        if self.ring.marks(self.next_avail) != self.next_avail.available:
            return 0
        if self.taken == self.ring.size:
            raise errors.RingOverrun
        return 1

    def pop(self) -> ModelChain | None:
        if self.ring.marks(self.next_avail) != self.next_avail.available:
            return None
        chain, place, count, more = ModelChain(-1), self.next_avail, 0, True
        while more:
            address, length, buffer_id, flags = self.ring.get(place)
            if flags & (AVAIL | USED) != place.available:
                raise errors.ListNotAvailable
            if self.taken + count == self.ring.size:
                raise errors.RingOverrun if self.taken else errors.ChainTooLong
            chain.head, count = buffer_id, count + 1
            if flags & F_INDIRECT:
                if count > 1 or flags & F_NEXT:
                    raise errors.IndirectInList
                self.walk_table(chain, address, length)
            else:
                self.take(chain, address, length, flags)
            more = bool(flags & F_NEXT)
            place = place.after(1, self.ring.size)
        if chain.head >= self.ring.size:
            raise errors.BufferIdOutsideQueue
        if chain.head in self.held:
            raise errors.BufferIdInFlight
        self.held[chain.head] = count
        self.taken += count
        self.next_avail = place
        return chain

    def walk_table(self, chain: ModelChain, address: int, length: int) -> None:
        if not self.layout.indirect:
            raise errors.IndirectNotNegotiated
        if length == 0 or length % 16 != 0:
            raise errors.IndirectTableLength
        if not self.layout.holds(address, length):
            raise errors.IndirectTableOutsideWindow
        if length // 16 > self.ring.size:
            raise errors.ChainTooLong
        for entry in range(length // 16):
            where, room, _, flags = DESC.unpack_from(self.layout.memory, address + 16 * entry)
            self.take(chain, where, room, flags)

    def take(self, chain: ModelChain, address: int, length: int, flags: int) -> None:
        if chain.writable and not flags & F_WRITE:
            raise errors.ReadableAfterWritable
        if length == 0:
            return
        if not self.layout.holds(address, length):
            raise errors.BufferOutsideWindow
        (chain.writable if flags & F_WRITE else chain.readable).append((address, length))
        if chain.total > LONGEST:
            raise errors.ChainTooLarge

    def push(self, head: int, written: int) -> None:
        self.pushed.append((head, written))

    def publish(self) -> bool:
        """All used descriptors, the first one last (2.8.2)."""
        places, written = [], []
        for head, _ in self.pushed:
            places.append(self.next_used)
            count = self.held.pop(head)
            written += [self.next_used.after(step, self.ring.size) for step in range(count)]
            self.next_used = self.next_used.after(count, self.ring.size)
            self.taken -= count
        for place, (head, length) in reversed(list(zip(places, self.pushed, strict=True))):
            # The length is for nobody to look at where nothing was written (2.8.4).
            self.ring.put(place, 0, length or 0xDEAD, head, place.used | (F_WRITE if length else 0))
        self.pushed = []
        return bool(written) and self.ring.wanted(self.layout.driver, written)

    def enable(self) -> bool:
        self.ring.ask(self.layout.device, AT_DESCRIPTOR if self.layout.event_idx else ENABLE, self.next_avail)
        return self.pending() > 0

    def disable(self) -> None:
        if not self.layout.event_idx:
            self.ring.ask(self.layout.device, DISABLE, START)


@dataclass
class Offered:
    token: object
    count: int
    writable_length: int
    published: bool = False


class PackedModelDriver:
    """The driver's half."""

    def __init__(self, layout: Layout) -> None:
        self.ring = Ring(layout)
        self.layout = layout
        layout.memory[layout.desc : layout.desc + 16 * layout.size] = bytes(16 * layout.size)
        for area in (layout.driver, layout.device):
            self.ring.ask(area, ENABLE, Place(0, 0))
        self.next_avail = self.next_used = START
        self.free = layout.size
        # Taken from the front and returned to the end, so that ids are in another order than slots.
        self.ids = list(range(layout.size))
        self.offered: dict[int, Offered] = {}
        self.waiting: list[tuple[Place, int, int, int, int]] = []

    def add(self, readable: list[Segment], writable: list[Segment], token: object, table: int | None = None) -> None:
        pieces = [(segment, 0) for segment in readable] + [(segment, F_WRITE) for segment in writable]
        buffer_id = self.ids.pop(0)
        if table is not None:
            for number, ((address, length), flags) in enumerate(pieces):
                # All but WRITE is reserved here, and ignored (2.8.7).
                DESC.pack_into(self.layout.memory, table + 16 * number, address, length, 0xFFFF, flags | F_NEXT)
            pieces = [((table, 16 * len(pieces)), F_INDIRECT | (F_WRITE if len(pieces) % 2 else 0))]
        for number, ((address, length), flags) in enumerate(pieces):
            last = number + 1 == len(pieces)
            # The id of a list is that of its last descriptor (2.8.6).
            marks = self.next_avail.available | (0 if last else F_NEXT)
            self.waiting.append((self.next_avail, address, length, buffer_id if last else 0xFFFF, flags | marks))
            self.next_avail = self.next_avail.after(1, self.ring.size)
        self.free -= len(pieces)
        self.offered[buffer_id] = Offered(token, len(pieces), sum(length for _, length in writable))

    def publish(self) -> bool:
        for descriptor in reversed(self.waiting):
            self.ring.put(*descriptor)
        written = [place for place, *_ in self.waiting]
        self.waiting = []
        for chain in self.offered.values():
            chain.published = True
        return bool(written) and self.ring.wanted(self.layout.device, written)

    def get(self) -> tuple[object, int] | None:
        _, length, buffer_id, flags = self.ring.get(self.next_used)
        if flags & (AVAIL | USED) != self.next_used.used:
            return None
        if buffer_id >= self.ring.size:
            raise errors.UsedIdOutsideQueue
        if buffer_id not in self.offered or not self.offered[buffer_id].published:
            raise errors.UsedIdNotInFlight
        chain = self.offered[buffer_id]
        written = length if flags & F_WRITE else 0
        if written > chain.writable_length:
            raise errors.UsedLengthTooLarge
        del self.offered[buffer_id]
        self.ids.append(buffer_id)
        self.free += chain.count
        self.next_used = self.next_used.after(chain.count, self.ring.size)
        return chain.token, written

    def enable(self) -> bool:
        self.ring.ask(self.layout.driver, AT_DESCRIPTOR if self.layout.event_idx else ENABLE, self.next_used)
        return self.ring.marks(self.next_used) == self.next_used.used

    def disable(self) -> None:
        self.ring.ask(self.layout.driver, DISABLE, START)
