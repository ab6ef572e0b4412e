# SPDX-License-Identifier: MIT
"""The compiled rings in the packed layout. What an input can do is in ``STEPS``.

A position is a slot with the wrap counter in bit 15.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from fuzz.both_sides import DESCRIPTOR, LENGTH, RECORDS, WINDOW, BothSides, Span, play
from fuzz.script import Script
from ivshmem_virtio.errors import OutsideWindow, RingViolation, UsedPositionChanged
from ivshmem_virtio.transport.kept_layout import QueueRecord, queue_record_length

LARGEST = 64
WRAP, SLOT = 0x8000, 0x7FFF
NEXT, WRITE, AVAIL, USED = 1, 2, 1 << 7, 1 << 15


class PackedRings(BothSides):
    """One descriptor ring, and two structures that suppress events."""

    packed = True
    first = WRAP
    usual_places = (0x400, 0x800, 0x840)
    damage = (RingViolation, OutsideWindow)
    denials = (UsedPositionChanged,)

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.next_offer = self.next_used = self.index
        """Where the liar goes on."""

    def begin(self) -> None:
        """The keeper says how large the ring may be."""
        if self.recorded:
            largest = self.size - (self.shape >> 7)
            RECORDS.store32(self.record_at + QueueRecord.RING_LARGEST, largest)
        super().begin()

    def usual_size(self) -> int:
        return 1 + self.script.below(LARGEST)

    @property
    def record_length(self) -> int:
        return queue_record_length(self.size)

    @property
    def device_parts(self) -> list[Span]:
        return [(self.desc, 16 * self.size), (self.device, 4)]

    @property
    def driver_parts(self) -> list[Span]:
        return [(self.desc, 16 * self.size), (self.driver, 4)]

    # -- positions -----------------------------------------------------------------------------------------------------

    def position(self) -> int:
        value = self.script.number(2)
        return value & WRAP | (value & SLOT) % self.size

    def step(self, position: int, count: int = 1) -> int:
        at = (position & SLOT) + count
        return position + count if at < self.size else (position & WRAP ^ WRAP) | at - self.size

    def slot(self, position: int) -> int:
        return self.desc + DESCRIPTOR.size * (position & SLOT)

    def flags_at(self, position: int) -> int:
        return WINDOW.load16(self.slot(position) + 14)

    # -- lies ----------------------------------------------------------------------------------------------------------

    def put(self, place: int, flags: int) -> None:
        """One descriptor at a place of the window, if it is there."""
        what = self.script.byte()
        address = self.script.number(8) if what & 0x80 else self.script.place(LENGTH)
        length = self.script.number(4) if what & 0x40 else self.script.number(2) & 0x3FF
        buffer_id = self.script.number(2) if what & 0x20 else self.script.byte() % self.size
        if 0 <= place <= LENGTH - DESCRIPTOR.size:
            WINDOW.write(place, DESCRIPTOR.pack(address, length, buffer_id, flags & 0xFFFF))

    def offer(self) -> None:
        """A list of descriptors where the driver would put it, its first one last; maybe none of it right."""
        how = self.script.byte()
        count = 1 + (how & 3)
        places = [self.step(self.next_offer, number) for number in range(min(count, self.size))]
        for number, place in reversed([*enumerate(places)]):
            flags = self.script.byte() & 6 | (NEXT if number + 1 < len(places) else how >> 6 & NEXT)
            self.put(self.slot(place), flags | (AVAIL if place & WRAP else USED))
        if not how & 0x80:
            self.next_offer = self.step(self.next_offer, len(places))

    def table_entry(self) -> None:
        """A descriptor anywhere: part of an indirect table, perhaps."""
        number, flags = self.script.byte(), self.script.byte()
        self.put((self.script.place(LENGTH) & -16) + DESCRIPTOR.size * (number & 7), flags & 7)

    def make_used(self) -> None:
        """A used descriptor by plain stores."""
        head, ahead = self.script.byte(), self.script.byte()
        place = self.slot(self.next_used)
        if place + DESCRIPTOR.size > LENGTH:
            return
        WINDOW.store32(place + 8, self.script.number(4) if head & 0x40 else self.script.byte())
        WINDOW.store16(place + 12, head & 0x3F)
        WINDOW.store16(place + 14, head >> 6 & WRITE | (AVAIL | USED if self.next_used & WRAP else 0))
        self.next_used = self.step(self.next_used, ahead % (self.size + 1))

    def follow(self) -> None:
        """The liar looks where the sides are."""
        self.next_used = self.back.index
        self.next_offer = self.step(self.back.index, self.script.byte() % (self.size + 1))

    # -- what a device does --------------------------------------------------------------------------------------------

    def used_at(self, index: int) -> Span:
        place = self.slot(index)
        return WINDOW.load16(place + 12), WINDOW.load32(place + 8)

    def check_new(self, head: int, taken: list[int]) -> None:
        assert head not in taken or not self.recorded

    def expect_answers(self, *, answered: bool) -> None:
        if answered and self.taken is not None:
            self.taken = []

    def nothing_shown(self) -> bool:
        return bool((self.flags_at(self.published) ^ self.published) & USED)

    def slots_unpublished(self) -> int:
        count = (self.back.index & SLOT) - (self.published & SLOT)
        return count + self.size if (self.back.index ^ self.published) & WRAP else count

    def show(self) -> None:
        WINDOW.store16(self.slot(self.published) + 14, AVAIL | USED if self.published & WRAP else 0)

    def describe(self) -> None:
        super().describe()
        wrong: tuple[Callable[[], object], ...] = (
            lambda: self.open_with(index=self.size),
            lambda: self.open_with(index=0x10000),
            lambda: self.open_with(record=RECORDS, record_offset=RECORDS.length - 0x80),
        )
        for make in wrong:
            with suppress(ValueError, OutsideWindow, RingViolation):
                make()
                raise AssertionError("something was made that cannot be")


STEPS: tuple[Callable[[PackedRings], None], ...] = (
    PackedRings.offer, PackedRings.pop, PackedRings.push, PackedRings.publish, PackedRings.poke,
    PackedRings.table_entry, PackedRings.make_used, PackedRings.follow, PackedRings.poke_record,
    PackedRings.tear_record, PackedRings.push_wrongly, PackedRings.steer_device, PackedRings.use_chain,
    PackedRings.resume, PackedRings.add, PackedRings.make_visible, PackedRings.get, PackedRings.steer_driver,
    PackedRings.die_publishing, PackedRings.describe,
)  # fmt: skip


def run(data: bytes) -> None:
    """One input."""
    play(PackedRings, STEPS, data)
