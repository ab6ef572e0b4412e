# SPDX-License-Identifier: MIT
"""A driver and a device on one small window, either of which may be a liar: what is the same for every layout.

Whatever the window holds, each side touches only what belongs to it, raises nothing but violations of the rings, and
knows how many chains it holds.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import ClassVar, TypeVar

from fuzz.guarded import PAGE, guarded_window
from fuzz.script import Script
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
LARGEST_CHAIN = 1 << 32

# Mapped once: making them for every input would take longer than the input.
WINDOW = guarded_window(LENGTH)
RECORDS = guarded_window(2 * LENGTH)

Span = tuple[int, int]


class BothSides(ABC):
    """One window with the rings of one queue, and both of its sides. A layout says where what stands in them."""

    packed: ClassVar[bool]
    first: ClassVar[int]
    """Position at which a new ring begins."""
    usual_places: ClassVar[tuple[int, int, int]]
    """Of the three parts of a ring, when they are not placed oddly."""
    damage: ClassVar[tuple[type[Exception], ...]] = (RingViolation,)
    """What a successor raises over a record in which somebody has written."""
    denials: ClassVar[tuple[type[Exception], ...]] = ()
    """What it raises over the ring itself, whatever the record says."""

    def __init__(self, script: Script) -> None:
        """Raises RingViolation where the script places the rings so that they cannot be."""
        self.script = script
        WINDOW.zero(0, WINDOW.length)
        RECORDS.zero(0, RECORDS.length)
        self.shape = shape = script.byte()
        self.event_idx, self.indirect, self.recorded = bool(shape & 1), bool(shape & 2), bool(shape & 32)
        self.minimum = 0x400 if shape & 4 else 0
        self.size = self.usual_size()
        self.desc, self.driver, self.device = self.usual_places
        self.oddly_placed = bool(shape & 8)
        if self.oddly_placed:
            self.size = script.number(2)
            self.desc, self.driver, self.device = (script.place(LENGTH) for _ in range(3))
        self.index = self.position() if shape & 16 and self.size else self.first
        # Behind the last byte of the record nothing is mapped any more.
        room = RECORDS.length - self.record_length
        self.recorded &= room >= 0
        self.record_at = max(room, 0)
        self.shared = bool(shape & 64)
        """Whether there is an owner word, and a hint of what is in flight."""
        self.owner_word = 0
        self.front = DriverQueue(
            WINDOW, self.size, self.desc, self.driver, self.device,
            packed=self.packed, event_idx=self.event_idx, indirect=self.indirect, index=self.index,
        )  # fmt: skip
        self.token = 0
        self.added: set[int] = set()
        self.earlier = b""
        self.begin()

    # -- the layout ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def usual_size(self) -> int:
        """Descriptors of a ring that is not placed oddly."""

    @abstractmethod
    def position(self) -> int:
        """Any of the ring."""

    @property
    @abstractmethod
    def record_length(self) -> int:
        """Bytes that are kept of the queue."""

    @property
    @abstractmethod
    def device_parts(self) -> list[Span]:
        """What the device may write of the rings."""

    @property
    @abstractmethod
    def driver_parts(self) -> list[Span]:
        """What the driver may write of the rings without adding a chain."""

    @abstractmethod
    def used_at(self, index: int) -> Span:
        """Head and length of a used entry."""

    @abstractmethod
    def check_new(self, head: int, taken: list[int]) -> None:
        """Whether it is the turn of a chain that nobody had in hand before, behind ``taken``."""

    @abstractmethod
    def expect_answers(self, *, answered: bool) -> None:
        """Before a successor begins: what is known to be in flight, if a stand-in has answered, or just may have."""

    @abstractmethod
    def nothing_shown(self) -> bool:
        """Whether the ring says that nothing was published since ``published``."""

    @abstractmethod
    def slots_unpublished(self) -> int:
        """By how much a publication would move the device on."""

    @abstractmethod
    def show(self) -> None:
        """The store that makes what is unpublished visible."""

    # -- the device, and what is known about it ------------------------------------------------------------------------

    def open_device(self, *, resume: bool, answered: bool = False) -> DeviceQueue:
        if self.shared:
            self.owner_word += 1
            WINDOW.store32(OWNER, self.owner_word)
        return DeviceQueue(
            WINDOW, self.size, self.desc, self.driver, self.device, packed=self.packed,
            event_idx=self.event_idx, indirect=self.indirect, index=self.index, minimum=self.minimum,
            record=RECORDS if self.recorded else None, record_offset=self.record_at, resume=resume,
            answered=answered and not self.packed, answered_at=self.position() if answered and self.packed else None,
            owner=OWNER if self.shared else 0, owner_word=self.owner_word, hint=HINT if self.shared else 0,
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

    def poke(self) -> None:
        """Any aligned word of the window."""
        width = self.script.width()
        place = self.script.place(LENGTH) & -width
        if place + width <= LENGTH:
            WINDOW.write(place, self.script.bytes(width))

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
        """What a dead predecessor held comes first, in its order; then what is new."""
        if self.taken is None:
            return
        if self.redo:
            assert head == self.redo.pop(0)
            return
        self.check_new(head, self.taken)
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
        self.expect_answers(answered=answered)
        self.succeed(answered=answered)

    def succeed(self, *, answered: bool) -> None:
        """A successor in the place of the device."""
        try:
            self.back = self.open_device(resume=True, answered=answered)
        except self.denials:
            self.begin()
            return
        except self.damage:
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
        """The device ends in the middle of a publication: the driver can see it already, or not yet."""
        if not self.recorded or self.robbed or self.back.broken or self.taken is None or self.redo:
            return
        visible = bool(self.script.byte() & 1)
        if not self.nothing_shown():
            return
        count = self.slots_unpublished()
        for head in self.unpublished:
            RECORDS.store32(self.taken_record(head) + InFlightRecord.COMMITTED, 1)
        RECORDS.store16(self.record_at + QueueRecord.COMMIT_OLD, self.published)
        RECORDS.store32(self.record_at + QueueRecord.COMMIT_COUNT, count)
        if visible and count:
            self.show()
            self.taken = [head for head in self.taken if head not in self.unpublished]
        self.succeed(answered=False)

    def taken_record(self, head: int) -> int:
        return self.record_at + QUEUE_RECORD_SIZE + IN_FLIGHT_RECORD_SIZE * head

    def describe(self) -> None:
        """What the queues say of themselves, and what they refuse to be."""
        back, front = self.back, self.front
        assert (back.size, back.desc, back.driver, back.device) == (self.size, self.desc, self.driver, self.device)
        assert (front.size, front.window) == (self.size, WINDOW)
        assert back.packed == front.packed == self.packed
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
        return self.open_with(record=RECORDS, record_offset=place)

    def open_with(self, **more: object) -> DeviceQueue:
        return DeviceQueue(
            WINDOW, self.size, self.desc, self.driver, self.device, packed=self.packed,
            event_idx=False, indirect=False, minimum=self.minimum, **more,  # type: ignore[arg-type] # what it refuses
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


Sides = TypeVar("Sides", bound=BothSides)


def play(sides: type[Sides], steps: Sequence[Callable[[Sides], None]], data: bytes) -> None:
    """One input, which says what happens step by step. The sides are gone afterwards, the window stays."""
    script = Script(data)
    try:
        rings = sides(script)
    except RingViolation:
        return
    while script.more:
        script.choose(steps)(rings)
