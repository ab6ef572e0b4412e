# SPDX-License-Identifier: MIT
"""The compiled rings in the packed layout: the same two sides and the same liar as in ``fuzz/rings.py``.

A position is a slot with the wrap counter in bit 15. What an input can do is in ``STEPS``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from fuzz.rings import DESCRIPTOR, HINT, LENGTH, OWNER, RECORDS, WINDOW, Rings, Span
from fuzz.script import Script
from ivshmem_virtio.core import DeviceQueue, DriverQueue
from ivshmem_virtio.errors import OutsideWindow, RingViolation, UsedPositionChanged
from ivshmem_virtio.transport.kept_layout import InFlightRecord, QueueRecord, queue_record_length

DESC, DRIVER, DEVICE = 0x400, 0x800, 0x840
LARGEST = 64
WRAP, SLOT = 0x8000, 0x7FFF
NEXT, WRITE, AVAIL, USED = 1, 2, 1 << 7, 1 << 15


class PackedRings(Rings):
    """One window with a packed ring, and both of its sides."""

    def __init__(self, script: Script) -> None:
        """Raises RingViolation where the script places the ring so that it cannot be."""
        self.script = script
        WINDOW.zero(0, WINDOW.length)
        RECORDS.zero(0, RECORDS.length)
        shape = script.byte()
        self.event_idx, self.indirect, self.recorded = bool(shape & 1), bool(shape & 2), bool(shape & 32)
        self.minimum = 0x400 if shape & 4 else 0
        self.size = 1 + script.below(LARGEST)
        self.desc, self.driver, self.device = DESC, DRIVER, DEVICE
        self.oddly_placed = bool(shape & 8)
        if self.oddly_placed:
            self.size = script.number(2)
            self.desc, self.driver, self.device = (script.place(LENGTH) for _ in range(3))
        self.index = self.position() if shape & 16 and self.size else WRAP
        self.shared = bool(shape & 64)
        # Behind the last copy of a descriptor nothing is mapped any more.
        room = RECORDS.length - queue_record_length(self.size)
        self.recorded &= room >= 0
        self.record_at = max(room, 0)
        self.largest = self.size - (shape >> 7)
        self.owner_word = 0
        self.front = DriverQueue(
            WINDOW, self.size, self.desc, self.driver, self.device,
            packed=True, event_idx=self.event_idx, indirect=self.indirect, index=self.index,
        )  # fmt: skip
        self.token = 0
        self.added: set[int] = set()
        self.earlier = b""
        self.next_offer = self.next_used = self.index
        """Where the liar goes on."""
        self.begin()

    def begin(self) -> None:
        """The keeper says how large the ring may be."""
        if self.recorded:
            RECORDS.store32(self.record_at + QueueRecord.RING_LARGEST, self.largest)
        super().begin()

    def open_device(self, *, resume: bool, answered: bool = False) -> DeviceQueue:
        if self.shared:
            self.owner_word += 1
            WINDOW.store32(OWNER, self.owner_word)
        return DeviceQueue(
            WINDOW, self.size, self.desc, self.driver, self.device, packed=True,
            event_idx=self.event_idx, indirect=self.indirect, index=self.index, minimum=self.minimum,
            record=RECORDS if self.recorded else None, record_offset=self.record_at, resume=resume,
            answered_at=self.position() if answered else None, owner=OWNER if self.shared else 0,
            owner_word=self.owner_word, hint=HINT if self.shared else 0,
        )  # fmt: skip

    @property
    def device_parts(self) -> list[Span]:
        return [(self.desc, 16 * self.size), (self.device, 4)]

    @property
    def driver_parts(self) -> list[Span]:
        return [(self.desc, 16 * self.size), (self.driver, 4)]

    # -- positions -----------------------------------------------------------------------------------------------------

    def position(self) -> int:
        """Any of the ring."""
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

    def account_for(self, head: int) -> None:
        """What a dead predecessor held comes first, in its order."""
        if self.taken is None:
            return
        if self.redo:
            assert head == self.redo.pop(0)
            return
        assert head not in self.taken or not self.recorded
        self.taken.append(head)

    def used_at(self, index: int) -> Span:
        place = self.slot(index)
        return WINDOW.load16(place + 12), WINDOW.load32(place + 8)

    def resume(self) -> None:
        how = self.script.byte()
        if not self.recorded or how & 0x80:
            self.begin()
            return
        answered = bool(how & 1)
        if answered and self.taken is not None:
            self.taken = []
        self.succeed(answered=answered)

    def succeed(self, *, answered: bool) -> None:
        """A successor in the place of the device. What it refuses is a lie, or a slot that somebody marked used."""
        try:
            self.back = self.open_device(resume=True, answered=answered)
        except UsedPositionChanged:
            self.begin()
            return
        except (RingViolation, OutsideWindow):
            assert self.taken is None, "what a device that told the truth has kept was refused"
            self.begin()
            return
        self.forget_chains()
        self.published = self.back.index
        self.redo = list(self.taken or ())
        if self.taken is not None:
            count = RECORDS.load32(self.record_at + QueueRecord.IN_FLIGHT_COUNT)
            assert count == len(self.redo), (
                f"{count} chains are to be served again, and {len(self.redo)} were in flight"
            )
            assert all(self.redo.count(head) == 1 for head in self.redo)

    def die_publishing(self) -> None:
        """The device ends in the middle of a publication: the flags of its first slot are stored, or not yet."""
        if not self.recorded or self.robbed or self.back.broken or self.taken is None or self.redo:
            return
        visible = bool(self.script.byte() & 1)
        if not (self.flags_at(self.published) ^ self.published) & USED:
            return
        count = (self.back.index & SLOT) - (self.published & SLOT)
        if (self.back.index ^ self.published) & WRAP:
            count += self.size
        for head in self.unpublished:
            RECORDS.store32(self.taken_record(head) + InFlightRecord.COMMITTED, 1)
        RECORDS.store16(self.record_at + QueueRecord.COMMIT_OLD, self.published)
        RECORDS.store32(self.record_at + QueueRecord.COMMIT_COUNT, count)
        if visible and count:
            WINDOW.store16(self.slot(self.published) + 14, AVAIL | USED if self.published & WRAP else 0)
            self.taken = [head for head in self.taken if head not in self.unpublished]
        self.succeed(answered=False)

    def describe(self) -> None:
        """What the queues say of themselves, and what they refuse to be."""
        super().describe()
        assert self.back.packed
        assert self.front.packed
        wrong: tuple[Callable[[], object], ...] = (
            lambda: self.open_with(index=self.size),
            lambda: self.open_with(index=0x10000),
            lambda: self.open_with(record=RECORDS, record_offset=RECORDS.length - 0x80),
        )
        for make in wrong:
            with suppress(ValueError, OutsideWindow, RingViolation):
                make()
                raise AssertionError("something was made that cannot be")

    def open_with(self, **more: object) -> DeviceQueue:
        return DeviceQueue(
            WINDOW, self.size, self.desc, self.driver, self.device,
            packed=True, event_idx=False, indirect=False, **more,  # type: ignore[arg-type] # what it refuses
        )  # fmt: skip

    def open_at(self, place: int) -> DeviceQueue:
        return self.open_with(record=RECORDS, record_offset=place)


STEPS: tuple[Callable[[PackedRings], None], ...] = (
    PackedRings.offer, PackedRings.pop, PackedRings.push, PackedRings.publish, PackedRings.poke,
    PackedRings.table_entry, PackedRings.make_used, PackedRings.follow, PackedRings.poke_record,
    PackedRings.tear_record, PackedRings.push_wrongly, PackedRings.steer_device, PackedRings.use_chain,
    PackedRings.resume, PackedRings.add, PackedRings.make_visible, PackedRings.get, PackedRings.steer_driver,
    PackedRings.die_publishing, PackedRings.describe,
)  # fmt: skip


def run(data: bytes) -> None:
    """One input. The sides are gone afterwards, the window stays."""
    script = Script(data)
    try:
        rings = PackedRings(script)
    except RingViolation:
        return
    while script.more:
        script.choose(STEPS)(rings)
