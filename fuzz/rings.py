# SPDX-License-Identifier: MIT
"""The compiled rings: a driver and a device on one small window, either of which may be a liar.

What an input can do is in ``STEPS``. Whatever the window holds, each side touches only what belongs to it, raises
nothing but violations of the rings, and knows how many chains it holds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from contextlib import suppress

from fuzz.guarded import PAGE, guarded_window
from fuzz.script import Script
from fuzz.window_calls import call_window
from ivshmem_virtio.core import Chain, DeviceQueue, DriverQueue
from ivshmem_virtio.errors import OutsideWindow, RingFull, RingViolation
from ivshmem_virtio.transport.kept_layout import (
    IN_FLIGHT_RECORD_SIZE,
    QUEUE_RECORD_SIZE,
    InFlightRecord,
    QueueRecord,
)

LENGTH = 2 * PAGE
DESCRIPTOR = struct.Struct("<QIHH")
OWNER, HINT = 0x80, 0x100
DESC, DRIVER, DEVICE = 0x400, 0xC00, 0x1000
LARGEST_CHAIN = 1 << 32

# Mapped once: making them for every input would take longer than the input.
WINDOW = guarded_window(LENGTH)
RECORDS = guarded_window(2 * LENGTH)

Span = tuple[int, int]


class Rings:
    """One window with the rings of one queue, and both of its sides."""

    def __init__(self, script: Script) -> None:
        """Raises RingViolation where the script places the rings so that they cannot be."""
        self.script = script
        WINDOW.zero(0, WINDOW.length)
        RECORDS.zero(0, RECORDS.length)
        shape = script.byte()
        self.event_idx, self.indirect, self.recorded = bool(shape & 1), bool(shape & 2), bool(shape & 32)
        self.minimum = 0x400 if shape & 4 else 0
        self.size = 1 << script.below(8)
        self.desc, self.driver, self.device = DESC, DRIVER, DEVICE
        self.oddly_placed = bool(shape & 8)
        if self.oddly_placed:
            self.size = script.number(2)
            self.desc, self.driver, self.device = (script.place(LENGTH) for _ in range(3))
        self.index = script.number(2) if shape & 16 else 0
        # Behind the last record of the queue nothing is mapped any more.
        self.record_at = RECORDS.length - QUEUE_RECORD_SIZE - IN_FLIGHT_RECORD_SIZE * self.size
        self.recorded &= self.record_at >= 0
        self.shared = bool(shape & 64)
        """Whether there is an owner word, and a hint of what is in flight."""
        self.owner_word = 0
        self.front = DriverQueue(
            WINDOW, self.size, self.desc, self.driver, self.device,
            event_idx=self.event_idx, indirect=self.indirect, index=self.index,
        )  # fmt: skip
        self.token = 0
        self.added: set[int] = set()
        self.earlier = b""
        self.begin()

    def run(self) -> None:
        """Until the script ends."""
        while self.script.more:
            self.script.choose(STEPS)(self)

    # -- the device, and what is known about it ------------------------------------------------------------------------

    def open_device(self, *, resume: bool, answered: bool = False) -> DeviceQueue:
        if self.shared:
            self.owner_word += 1
            WINDOW.store32(OWNER, self.owner_word)
        return DeviceQueue(
            WINDOW, self.size, self.desc, self.driver, self.device,
            event_idx=self.event_idx, indirect=self.indirect, index=self.index, minimum=self.minimum,
            record=RECORDS if self.recorded else None, record_offset=self.record_at, resume=resume,
            answered=answered, owner=OWNER if self.shared else 0, owner_word=self.owner_word,
            hint=HINT if self.shared else 0,
        )  # fmt: skip

    @property
    def hints(self) -> list[Span]:
        return [(HINT, self.size)] if self.shared else []

    @property
    def robbed(self) -> bool:
        """Whether the driver's side has taken the used ring."""
        return self.shared and WINDOW.load32(OWNER) != self.owner_word

    def begin(self) -> None:
        """A queue that was just enabled."""
        self.back = self.open_device(resume=False)
        self.published = self.index
        self.taken: list[int] | None = []
        """Heads popped and not published, oldest first; None once somebody has lied about them."""
        self.redo: list[int] = []
        self.forget_chains()

    def forget_chains(self) -> None:
        self.held: list[Chain] = []
        self.returned: list[Chain] = []
        self.unpublished: list[int] = []
        self.stuck = 0
        """Chains pushed into a ring that was taken: they count as in flight."""

    @property
    def device_parts(self) -> list[Span]:
        """What the device may write of the rings."""
        return [(self.device, 6 + 8 * self.size)]

    @property
    def driver_parts(self) -> list[Span]:
        """What the driver may write of the rings without adding a chain."""
        return [(self.driver, 6 + 2 * self.size)]

    def writes_only(self, allowed: Iterable[Span], action: Callable[[], object]) -> None:
        """Carry out ``action``, which may change the window in these spans alone."""
        before = WINDOW.read(0, LENGTH)
        try:
            action()
        finally:
            after = bytearray(WINDOW.read(0, LENGTH))
            for offset, length in allowed:
                after[offset : offset + length] = before[offset : offset + length]
            assert after == before, "the window was changed where this side may not write"

    # -- lies ----------------------------------------------------------------------------------------------------------

    def descriptor(self) -> None:
        """One descriptor, of the ring's table or of one anywhere."""
        number, flags = self.script.byte(), self.script.byte()
        table = self.desc if number < 0xC0 else self.script.place(LENGTH)
        address = self.script.number(8) if flags & 0x80 else self.script.place(LENGTH)
        length = self.script.number(4) if flags & 0x40 else self.script.number(2) & 0x3FF
        following = self.script.number(2) if flags & 0x20 else self.script.byte()
        place = table + DESCRIPTOR.size * (number & 0x3F)
        if place + DESCRIPTOR.size <= LENGTH:
            WINDOW.write(place, DESCRIPTOR.pack(address, length, flags & 7, following))

    def poke(self) -> None:
        """Any aligned word of the window."""
        width = self.script.width()
        place = self.script.place(LENGTH) & -width
        if place + width <= LENGTH:
            WINDOW.write(place, self.script.bytes(width))

    def make_available(self) -> None:
        """An entry of the available ring by plain stores."""
        head = self.script.byte()
        ahead = self.script.number(2) if head & 0x80 else 1
        index = WINDOW.load16(self.driver + 2)
        WINDOW.store16(self.driver + 4 + 2 * (index & (self.size - 1)), head & 0x7F)
        WINDOW.store16(self.driver + 2, index + ahead & 0xFFFF)

    def make_used(self) -> None:
        """An entry of the used ring by plain stores."""
        head = self.script.byte()
        ahead = self.script.number(2) if head & 0x80 else 1
        length = self.script.number(4) if head & 0x40 else self.script.byte()
        index = WINDOW.load16(self.device + 2)
        entry = self.device + 4 + 8 * (index & (self.size - 1))
        WINDOW.store32(entry, head & 0x3F)
        WINDOW.store32(entry + 4, length)
        WINDOW.store16(self.device + 2, index + ahead & 0xFFFF)

    def poke_record(self) -> None:
        """Any aligned word of what is kept of the queue."""
        width = self.script.width()
        place = self.record_at + (self.script.number(2) % (RECORDS.length - self.record_at) & -width)
        RECORDS.write(place, self.script.bytes(width))
        self.taken = None

    def tear_record(self) -> None:
        """What is kept is of now up to some word, and of earlier behind that; or remember what it is now."""
        length = RECORDS.length - self.record_at
        now = RECORDS.read(self.record_at, length)
        if len(self.earlier) == length and self.script.byte() & 1:
            cut = self.script.number(2) % length & -8
            RECORDS.write(self.record_at + cut, self.earlier[cut:])
            self.taken = None
        self.earlier = now

    # -- what a device does --------------------------------------------------------------------------------------------

    def pop(self) -> None:
        popped: list[Chain | None] = []
        try:
            self.writes_only(self.hints, lambda: popped.append(self.back.pop()))
        except RingViolation:
            assert self.back.broken
            return
        (chain,) = popped
        if chain is not None:
            self.check_chain(chain)
            self.held.append(chain)
            self.account_for(chain.head)
        assert self.back.in_flight == len(self.held) + self.stuck

    def account_for(self, head: int) -> None:
        """What a dead predecessor held comes first, in its order; then what the available ring says, in its order."""
        if self.taken is None:
            return
        if self.redo:
            assert head == self.redo.pop(0)
            return
        position = self.published + len(self.taken)
        assert head == WINDOW.load16(self.driver + 4 + 2 * (position & (self.size - 1))), "not the next available entry"
        self.taken.append(head)

    def check_chain(self, chain: Chain) -> None:
        assert 0 <= chain.head < self.size
        assert chain.head not in [held.head for held in self.held], "a chain is held twice"
        for segments, length in ((chain.readable, chain.readable_length), (chain.writable, chain.writable_length)):
            assert sum(part for _, part in segments) == length
            assert all(self.minimum <= offset and offset + part <= LENGTH for offset, part in segments)
        assert len(chain.readable) + len(chain.writable) <= self.size
        assert chain.readable_length + chain.writable_length <= LARGEST_CHAIN
        table = chain.table
        assert table is None or (self.indirect and self.minimum <= table[0] and sum(table) <= LENGTH)

    def push(self) -> None:
        if not self.held:
            return
        chain = self.held.pop(self.script.below(len(self.held)))
        written = min(self.script.number(2), chain.writable_length)
        if self.robbed:
            self.writes_only((), lambda: self.back.push(chain, written))
            assert self.back.broken
            self.stuck += 1
            self.returned.append(chain)
            self.taken = None
            return
        index = self.back.index
        self.writes_only([*self.device_parts, *self.hints], lambda: self.back.push(chain, written))
        if not self.oddly_placed:
            assert self.used_at(index) == (chain.head, written), "not the next used entry"
        self.unpublished.append(chain.head)
        self.returned = [*self.returned[-3:], chain]
        assert self.back.in_flight == len(self.held) + self.stuck

    def used_at(self, index: int) -> Span:
        """Head and length of a used entry."""
        entry = self.device + 4 + 8 * (index & (self.size - 1))
        return WINDOW.load32(entry), WINDOW.load32(entry + 4)

    def push_wrongly(self) -> None:
        """A device with an error of its own: refused, and nothing has happened."""
        if not self.held and not self.returned:
            return
        chain = self.script.choose([*self.held, *self.returned])
        written = chain.writable_length + 1 if chain in self.held else 0
        refused = False
        try:
            self.writes_only((), lambda: self.back.push(chain, written))
        except ValueError:
            refused = True
        assert refused, f"the chain at head {chain.head} was pushed with {written} bytes"

    def publish(self) -> None:
        if self.robbed:
            self.writes_only((), self.back.publish)
            self.taken = None
            return
        self.writes_only(self.device_parts, self.back.publish)
        self.published = self.back.index
        if self.taken is not None:
            self.taken = [head for head in self.taken if head not in self.unpublished]
        self.unpublished = []

    def steer_device(self) -> None:
        """Notifications on or off, or a look at what waits."""
        steer: Callable[[], object] = self.script.choose(
            (self.back.enable_notifications, self.back.disable_notifications, self.back.pending)
        )
        try:
            self.writes_only(self.device_parts, steer)
        except RingViolation:
            assert self.back.broken

    def use_chain(self) -> None:
        """Read, write and look at a chain, whatever it overlaps with; a returned one cannot be used any more."""
        if not self.held and not self.returned:
            return
        chain = self.script.choose([*self.held, *self.returned])
        offset, length = self.script.number(2), self.script.number(2) & 0xFFF
        if chain not in self.held:
            with suppress(ValueError):
                chain.read(offset, length)
                raise AssertionError(f"the chain at head {chain.head} was read after it was returned")
            return
        available = max(0, min(length, chain.readable_length - offset))
        assert len(chain.read(offset, length)) == available
        assert sum(len(view) for view in chain.readable_views(offset, length)) == available
        written: list[int] = []
        self.writes_only(chain.writable, lambda: written.append(chain.write(offset, bytes(length))))
        assert written == [max(0, min(length, chain.writable_length - offset))]
        assert sum(len(view) for view in chain.writable_views()) == chain.writable_length

    def resume(self) -> None:
        """The device ends without a word, and a successor goes on from what it kept; or it is enabled anew."""
        how = self.script.byte()
        if not self.recorded or how & 0x80:
            self.begin()
            return
        answered = bool(how & 1)
        if WINDOW.load16(self.device + 2) != self.published and self.taken is not None:
            self.taken = [] if answered else None
        self.succeed(answered=answered)

    def succeed(self, *, answered: bool) -> None:
        """A successor in the place of the device."""
        try:
            self.back = self.open_device(resume=True, answered=answered)
        except RingViolation:
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

    def call_window(self) -> None:
        call_window(self.script)

    def die_publishing(self) -> None:
        """The device ends in the middle of a publication: the used index is stored already, or not yet."""
        if not self.recorded or self.robbed or self.back.broken or self.taken is None or self.redo:
            return
        visible = bool(self.script.byte() & 1)
        if WINDOW.load16(self.device + 2) != self.published:
            return
        for head in self.unpublished:
            RECORDS.store32(self.taken_record(head) + InFlightRecord.COMMITTED, 1)
        RECORDS.store16(self.record_at + QueueRecord.COMMIT_OLD, self.published)
        RECORDS.store32(self.record_at + QueueRecord.COMMIT_COUNT, len(self.unpublished))
        if visible:
            WINDOW.store16(self.device + 2, self.back.index)
            self.published = self.back.index
            self.taken = [head for head in self.taken if head not in self.unpublished]
        self.succeed(answered=False)

    def taken_record(self, head: int) -> int:
        return self.record_at + QUEUE_RECORD_SIZE + IN_FLIGHT_RECORD_SIZE * head

    def describe(self) -> None:
        """What the queues say of themselves, and what they refuse to be."""
        back, front = self.back, self.front
        assert (back.size, back.desc, back.driver, back.device) == (self.size, self.desc, self.driver, self.device)
        assert (front.size, front.window) == (self.size, WINDOW)
        for side in (back, front):
            assert min(side.chains, side.bytes, side.notifications_wanted, side.notifications_suppressed) >= 0
        for chain in self.held:
            assert chain.table is None or chain.table[1] % DESCRIPTOR.size == 0
            assert len(chain.readable_views(0, 1)) + len(chain.writable_views(0, 1)) <= 2
        for make in (Chain, lambda: self.open_at(self.record_at + 4), lambda: self.open_at(RECORDS.length)):
            with suppress(TypeError, ValueError, OutsideWindow):
                make()
                raise AssertionError("something was made that cannot be")

    def open_at(self, place: int) -> DeviceQueue:
        return DeviceQueue(
            WINDOW, self.size, self.desc, self.driver, self.device,
            event_idx=False, indirect=False, minimum=self.minimum, record=RECORDS, record_offset=place,
        )  # fmt: skip

    # -- what a driver does --------------------------------------------------------------------------------------------

    def segments(self) -> list[Span]:
        return [(self.script.place(LENGTH), self.script.number(2) & 0x1FF) for _ in range(self.script.byte() & 3)]

    def add(self) -> None:
        readable, writable = self.segments(), self.segments()
        table = self.script.place(LENGTH) if self.script.byte() & 1 else None
        allowed = [(self.desc, 16 * self.size), *self.driver_parts]
        if table is not None:
            allowed.append((table, 16 * (len(readable) + len(writable))))
        free = self.front.free
        try:
            self.writes_only(allowed, lambda: self.front.add(readable, writable, self.token, table))
        except RingViolation:
            assert self.front.broken
        except (RingFull, OutsideWindow, ValueError):
            assert self.front.free == free
        else:
            assert self.front.free < free
            self.added.add(self.token)
            self.token += 1

    def make_visible(self) -> None:
        self.writes_only(self.driver_parts, self.front.publish)

    def get(self) -> None:
        """A chain that came back is one that was added, and comes back once."""
        found: list[tuple[object, int] | None] = []
        try:
            self.writes_only(self.driver_parts, lambda: found.append(self.front.get()))
        except RingViolation:
            assert self.front.broken
            return
        if found[0] is not None:
            token = found[0][0]
            assert isinstance(token, int)
            self.added.remove(token)

    def steer_driver(self) -> None:
        steer: Callable[[], object] = self.script.choose((self.front.enable_callbacks, self.front.disable_callbacks))
        self.writes_only(self.driver_parts, steer)


STEPS: tuple[Callable[[Rings], None], ...] = (
    Rings.descriptor, Rings.poke, Rings.make_available, Rings.make_used, Rings.poke_record, Rings.tear_record,
    Rings.pop, Rings.push, Rings.push_wrongly, Rings.publish, Rings.steer_device, Rings.use_chain, Rings.resume,
    Rings.add, Rings.make_visible, Rings.get, Rings.steer_driver, Rings.call_window,
    Rings.die_publishing, Rings.describe,
)  # fmt: skip


def run(data: bytes) -> None:
    """One input. The sides are gone afterwards, the window stays."""
    try:
        rings = Rings(Script(data))
    except RingViolation:
        return
    rings.run()
