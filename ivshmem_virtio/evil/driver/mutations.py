# SPDX-License-Identifier: MIT
"""What can go wrong with a chain on its way from a request to a ring: one small mistake each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from ivshmem_virtio.evil.driver.requests import SLOT, TABLE, Part
from ivshmem_virtio.evil.driver.ring import WRITE

ADDRESS, LENGTH, FLAGS = 0, 1, 2
BREAKING_SHARE = 0.02
"""A device that breaks off has to be reset, which takes as long as many chains: most mistakes are to be survived."""
OVERWRITING_SHARE = 0.05
"""A device that is made to write over the chains behind breaks off over those: that is not to happen in each batch."""
HUGE = (0, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1, (1 << 64) - 16)
LONG = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0)


@dataclass
class Mutant:
    """A chain before it is written. ``entries``: what the length of an indirect table says, None for the truth."""

    parts: list[Part]
    indirect: bool
    slot: int
    window: int
    entries: int | None = None
    table: int | None = None
    following: int | None = None

    def any_part(self, dice: Random) -> Part:
        return self.parts[int(dice.random() * len(self.parts))]


Mutation = Callable[[Random, Mutant, memoryview], None]


def shorter(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    part = mutant.any_part(dice)
    part[LENGTH] = int(dice.random() * part[LENGTH])


def longer(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    part = mutant.any_part(dice)
    most = (mutant.window if dice.random() < OVERWRITING_SHARE else mutant.slot + TABLE) - part[ADDRESS]
    part[LENGTH] = min(part[LENGTH] + int(dice.random() * SLOT), most) if most > 0 else part[LENGTH]


def empty(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.any_part(dice)[LENGTH] = 0


def elsewhere(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    part = mutant.any_part(dice)
    part[ADDRESS] = mutant.slot + int(dice.random() * max(SLOT - part[LENGTH], 1))


def odd(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.any_part(dice)[ADDRESS] += 1


def dropped(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    if len(mutant.parts) > 1:
        mutant.parts.pop(int(dice.random() * len(mutant.parts)))


def doubled(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    place = int(dice.random() * len(mutant.parts))
    if len(mutant.parts) < 4:
        mutant.parts.insert(place, list(mutant.parts[place]))


def cut(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    """One part becomes two, which virtio leaves to the driver (virtio 1.4, 2.7.4)."""
    place = int(dice.random() * len(mutant.parts))
    address, length, flags = mutant.parts[place]
    if length > 1 and len(mutant.parts) < 4:
        first = 1 + int(dice.random() * (length - 1))
        mutant.parts[place : place + 1] = [[address, first, flags], [address + first, length - first, flags]]


def all_writable(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    for part in mutant.parts:
        part[FLAGS] |= WRITE


def all_readable(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    for part in mutant.parts:
        part[FLAGS] &= ~WRITE


def content(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    """Any byte of the first 64: headers lie there."""
    memory[mutant.slot + int(dice.random() * 64)] = int(dice.random() * 256)


def contents(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    memory[mutant.slot : mutant.slot + 32] = dice.randbytes(32)


def long_row(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    """A part as long as what is left of the window."""
    part = mutant.any_part(dice)
    kept = not part[FLAGS] & WRITE or dice.random() < OVERWRITING_SHARE
    if kept and part[ADDRESS] < mutant.window:
        part[LENGTH] = mutant.window - part[ADDRESS]


SURVIVED: Sequence[Mutation] = (
    *(shorter, longer, empty, elsewhere, odd, dropped, doubled, cut) * 4,
    *(all_writable, all_readable, content, content, content, contents) * 3,
    long_row,
)
"""After these the rings are still in order; what the request means is another matter."""


def address_far(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.any_part(dice)[ADDRESS] = HUGE[int(dice.random() * len(HUGE))]


def address_near(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    """Around the end of the window."""
    mutant.any_part(dice)[ADDRESS] = mutant.window - 8 + int(dice.random() * 16)


def address_any(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    """Anywhere in the window: registers, rings and other buffers."""
    mutant.any_part(dice)[ADDRESS] = int(dice.random() * mutant.window)


def length_far(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.any_part(dice)[LENGTH] = LONG[int(dice.random() * len(LONG))]


def flags_any(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.any_part(dice)[FLAGS] = int(dice.random() * 0x10000)


def flag_flipped(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.any_part(dice)[FLAGS] ^= 1 << int(dice.random() * 3)


def next_any(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    """The last part goes on, somewhere."""
    mutant.following = int(dice.random() * (32 if dice.random() < 0.7 else 0x10000))


def reversed_parts(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.parts.reverse()


def table_length(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.indirect = True
    mutant.entries = int(dice.random() * (300 if dice.random() < 0.8 else 0x100000000))


def table_anywhere(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    mutant.indirect = True
    mutant.table = int(dice.random() * (mutant.window if dice.random() < 0.7 else 1 << 64))


BREAKING: Sequence[Mutation] = (
    *(address_far, address_near, address_any, length_far, flags_any, flag_flipped),
    *(next_any, reversed_parts, table_length, table_anywhere),
)
"""After most of these a device has to break off."""


def mutate(dice: Random, mutant: Mutant, memory: memoryview) -> None:
    """One to four mistakes, seldom one that breaks the ring."""
    for _ in range(1 + int(dice.random() * 4)):
        table = BREAKING if dice.random() < BREAKING_SHARE / 2.5 else SURVIVED
        table[int(dice.random() * len(table))](dice, mutant, memory)
