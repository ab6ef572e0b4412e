# SPDX-License-Identifier: MIT
"""A slow, obvious split virtqueue after the text of virtio 1.4, 2.7: what the compiled rings are compared with.

It shares nothing with the compiled rings but the names of the exceptions. Nothing is cached and nothing is clever.
"""

import struct
from dataclasses import dataclass, field

from ivshmem_virtio import errors

DESC = struct.Struct("<QIHH")
AVAIL_HEAD = struct.Struct("<HH")
USED_ELEM = struct.Struct("<II")
LE16 = struct.Struct("<H")

F_NEXT, F_WRITE, F_INDIRECT = 1, 2, 4
LONGEST = 1 << 32

Segment = tuple[int, int]


@dataclass
class Layout:
    """Where a ring lies in its memory, and what was negotiated."""

    memory: memoryview
    size: int
    desc: int
    driver: int
    device: int
    event_idx: bool
    indirect: bool
    minimum: int = 0
    packed: bool = False

    def get16(self, offset: int) -> int:
        value: int = LE16.unpack_from(self.memory, offset)[0]
        return value

    def put16(self, offset: int, value: int) -> None:
        LE16.pack_into(self.memory, offset, value % 65536)

    @property
    def used_event(self) -> int:
        return self.driver + 4 + 2 * self.size

    @property
    def avail_event(self) -> int:
        return self.device + 4 + 8 * self.size

    def holds(self, address: int, length: int) -> bool:
        return self.minimum <= address and address + length <= len(self.memory)


@dataclass
class ModelChain:
    head: int
    readable: list[Segment] = field(default_factory=list)
    writable: list[Segment] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(length for _, length in self.readable + self.writable)


def stepped_over(event: int, old: int, new: int) -> bool:
    """Whether one of the entries old, old + 1, ... new - 1 (modulo 2^16) is the one at `event` (2.7.7.2)."""
    entry = old
    while entry != new:
        if entry == event:
            return True
        entry = (entry + 1) % 65536
    return False


class ModelDevice:
    """The device's half."""

    def __init__(self, layout: Layout, index: int = 0) -> None:
        self.ring = layout
        self.next_avail = index
        self.next_used = index
        self.visible_used = index
        self.held: dict[int, ModelChain] = {}

    def pending(self) -> int:
        index = self.ring.get16(self.ring.driver + 2)
        waiting = (index - self.next_avail) % 65536
        if waiting > self.ring.size:
            raise errors.AvailableIndexJump
        return waiting

    def pop(self) -> ModelChain | None:
        if not self.pending():
            return None
        head = self.ring.get16(self.ring.driver + 4 + 2 * (self.next_avail % self.ring.size))
        if head >= self.ring.size:
            raise errors.HeadOutsideQueue
        if head in self.held:
            raise errors.HeadInFlight
        chain = self.walk(head)
        self.next_avail = (self.next_avail + 1) % 65536
        self.held[head] = chain
        return chain

    def walk(self, head: int) -> ModelChain:
        chain = ModelChain(head)
        table, entries, index = self.ring.desc, self.ring.size, head
        seen = 0
        in_table = False
        while True:
            address, length, flags, following = DESC.unpack_from(self.ring.memory, table + 16 * index)
            if flags & F_INDIRECT:
                if in_table:
                    raise errors.IndirectNested
                self.check_table(address, length, flags)
                in_table, table, entries, index = True, address, length // 16, 0
                continue
            seen += 1
            if seen > self.ring.size:
                raise errors.ChainTooLong
            self.take(chain, address, length, flags)
            if not flags & F_NEXT:
                return chain
            if following >= entries:
                raise errors.NextOutsideTable
            index = following

    def check_table(self, address: int, length: int, flags: int) -> None:
        if not self.ring.indirect:
            raise errors.IndirectNotNegotiated
        if flags & F_NEXT:
            raise errors.IndirectWithNext
        if length == 0 or length % 16 != 0:
            raise errors.IndirectTableLength
        if not self.ring.holds(address, length):
            raise errors.IndirectTableOutsideWindow

    def take(self, chain: ModelChain, address: int, length: int, flags: int) -> None:
        if chain.writable and not flags & F_WRITE:
            raise errors.ReadableAfterWritable
        if length == 0:
            return
        if not self.ring.holds(address, length):
            raise errors.BufferOutsideWindow
        (chain.writable if flags & F_WRITE else chain.readable).append((address, length))
        if chain.total > LONGEST:
            raise errors.ChainTooLarge

    def push(self, head: int, written: int) -> None:
        del self.held[head]
        slot = self.next_used % self.ring.size
        USED_ELEM.pack_into(self.ring.memory, self.ring.device + 4 + 8 * slot, head, written)
        self.next_used = (self.next_used + 1) % 65536

    def publish(self) -> bool:
        old, new = self.visible_used, self.next_used
        if old == new:
            return False
        self.ring.put16(self.ring.device + 2, new)
        self.visible_used = new
        if self.ring.event_idx:
            return stepped_over(self.ring.get16(self.ring.used_event), old, new)
        return self.ring.get16(self.ring.driver) & 1 == 0

    def enable(self) -> bool:
        if self.ring.event_idx:
            self.ring.put16(self.ring.avail_event, self.next_avail)
        else:
            self.ring.put16(self.ring.device, 0)
        return self.pending() > 0

    def disable(self) -> None:
        if not self.ring.event_idx:
            self.ring.put16(self.ring.device, 1)


@dataclass
class Offered:
    token: object
    descriptors: list[int]
    writable_length: int
    published: bool = False


class ModelDriver:
    """The driver's half."""

    def __init__(self, layout: Layout, index: int = 0) -> None:
        self.ring = layout
        layout.memory[layout.desc : layout.desc + 16 * layout.size] = bytes(16 * layout.size)
        layout.memory[layout.driver : layout.driver + 6 + 2 * layout.size] = bytes(6 + 2 * layout.size)
        layout.memory[layout.device : layout.device + 6 + 8 * layout.size] = bytes(6 + 8 * layout.size)
        for position in (layout.driver + 2, layout.device + 2):
            layout.put16(position, index)
        if layout.event_idx:
            layout.put16(layout.used_event, index)
            layout.put16(layout.avail_event, index)
        self.next_avail = index
        self.visible_avail = index
        self.next_used = index
        # Popped from the end, so that chains of a used ring take scattered descriptors.
        self.unused = list(range(layout.size))
        self.offered: dict[int, Offered] = {}

    @property
    def free(self) -> int:
        return len(self.unused)

    def add(self, readable: list[Segment], writable: list[Segment], token: object, table: int | None = None) -> None:
        pieces = [(segment, 0) for segment in readable] + [(segment, F_WRITE) for segment in writable]
        taken = [self.unused.pop(0) for _ in (pieces if table is None else [table])]
        if table is None:
            self.fill(self.ring.desc, taken, pieces)
        else:
            self.fill(table, list(range(len(pieces))), pieces)
            # WRITE here means nothing and has to be ignored (2.7.5.3.2).
            flags = F_INDIRECT | (F_WRITE if len(pieces) % 2 else 0)
            DESC.pack_into(self.ring.memory, self.ring.desc + 16 * taken[0], table, 16 * len(pieces), flags, 0)
        self.ring.put16(self.ring.driver + 4 + 2 * (self.next_avail % self.ring.size), taken[0])
        self.next_avail = (self.next_avail + 1) % 65536
        self.offered[taken[0]] = Offered(token, taken, sum(length for _, length in writable))

    def fill(self, table: int, places: list[int], pieces: list[tuple[Segment, int]]) -> None:
        for number, ((address, length), flags) in enumerate(pieces):
            last = number + 1 == len(pieces)
            following = 0xFFFF if last else places[number + 1]  # without NEXT the field means nothing
            flags |= 0 if last else F_NEXT
            DESC.pack_into(self.ring.memory, table + 16 * places[number], address, length, flags, following)

    def publish(self) -> bool:
        old, new = self.visible_avail, self.next_avail
        if old == new:
            return False
        for chain in self.offered.values():
            chain.published = True
        self.ring.put16(self.ring.driver + 2, new)
        self.visible_avail = new
        if self.ring.event_idx:
            return stepped_over(self.ring.get16(self.ring.avail_event), old, new)
        return self.ring.get16(self.ring.device) & 1 == 0

    def get(self) -> tuple[object, int] | None:
        index = self.ring.get16(self.ring.device + 2)
        out = sum(chain.published for chain in self.offered.values())
        returned = (index - self.next_used) % 65536
        if returned > out:
            raise errors.UsedIndexJump
        if returned == 0:
            return None
        slot = self.next_used % self.ring.size
        head, written = USED_ELEM.unpack_from(self.ring.memory, self.ring.device + 4 + 8 * slot)
        if head >= self.ring.size:
            raise errors.UsedIdOutsideQueue
        if head not in self.offered or not self.offered[head].published:
            raise errors.UsedIdNotInFlight
        if written > self.offered[head].writable_length:
            raise errors.UsedLengthTooLarge
        chain = self.offered.pop(head)
        self.unused += chain.descriptors
        self.next_used = (self.next_used + 1) % 65536
        return chain.token, written

    def enable(self) -> bool:
        if self.ring.event_idx:
            self.ring.put16(self.ring.used_event, self.next_used)
        else:
            self.ring.put16(self.ring.driver, 0)
        return self.ring.get16(self.ring.device + 2) != self.next_used

    def disable(self) -> None:
        if self.ring.event_idx:
            self.ring.put16(self.ring.used_event, self.next_used - 1)
        else:
            self.ring.put16(self.ring.driver, 1)
