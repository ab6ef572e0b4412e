# SPDX-License-Identifier: MIT
"""The compiled rings in the split layout. What an input can do is in ``STEPS``."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.both_sides import DESCRIPTOR, LENGTH, WINDOW, BothSides, Span, play
from fuzz.window_calls import call_window
from ivshmem_virtio.transport.kept_layout import IN_FLIGHT_RECORD_SIZE, QUEUE_RECORD_SIZE


class Rings(BothSides):
    """Descriptor table, available ring and used ring."""

    packed = False
    first = 0
    usual_places = (0x400, 0xC00, 0x1000)

    def usual_size(self) -> int:
        return 1 << self.script.below(8)

    def position(self) -> int:
        return self.script.number(2)

    @property
    def record_length(self) -> int:
        return QUEUE_RECORD_SIZE + IN_FLIGHT_RECORD_SIZE * self.size

    @property
    def device_parts(self) -> list[Span]:
        return [(self.device, 6 + 8 * self.size)]

    @property
    def driver_parts(self) -> list[Span]:
        return [(self.driver, 6 + 2 * self.size)]

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

    def call_window(self) -> None:
        call_window(self.script)

    # -- what a device does --------------------------------------------------------------------------------------------

    def used_at(self, index: int) -> Span:
        entry = self.device + 4 + 8 * (index & (self.size - 1))
        return WINDOW.load32(entry), WINDOW.load32(entry + 4)

    def check_new(self, head: int, taken: list[int]) -> None:
        position = self.published + len(taken)
        assert head == WINDOW.load16(self.driver + 4 + 2 * (position & (self.size - 1))), "not the next available entry"

    def expect_answers(self, *, answered: bool) -> None:
        if not self.nothing_shown() and self.taken is not None:
            self.taken = [] if answered else None

    def nothing_shown(self) -> bool:
        return WINDOW.load16(self.device + 2) == self.published

    def slots_unpublished(self) -> int:
        return len(self.unpublished)

    def show(self) -> None:
        WINDOW.store16(self.device + 2, self.back.index)


STEPS: tuple[Callable[[Rings], None], ...] = (
    Rings.descriptor, Rings.poke, Rings.make_available, Rings.make_used, Rings.poke_record, Rings.tear_record,
    Rings.pop, Rings.push, Rings.push_wrongly, Rings.publish, Rings.steer_device, Rings.use_chain, Rings.resume,
    Rings.add, Rings.make_visible, Rings.get, Rings.steer_driver, Rings.call_window,
    Rings.die_publishing, Rings.describe,
)  # fmt: skip


def run(data: bytes) -> None:
    """One input."""
    play(Rings, STEPS, data)
