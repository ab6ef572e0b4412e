# SPDX-License-Identifier: MIT
"""What descriptors name: lengths of nothing and of everything, addresses that are nobody's or somebody else's."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.evil.driver.chains import chain_scenario
from ivshmem_virtio.evil.driver.ring import NEXT, WRITE, RawRing
from ivshmem_virtio.evil.driver.scenario import Attempt
from ivshmem_virtio.link.layout import Header

LINE = 64


def direction(attempt: Attempt) -> int:
    """Readable or writable, by the dice."""
    return attempt.dice.choice((0, WRITE))


def one(attempt: Attempt, ring: RawRing, address: int, length: int) -> Sequence[int]:
    ring.descriptor(0, address, length, direction(attempt))
    return [0]


def row(attempt: Attempt, ring: RawRing, address: int, length: int, count: int) -> Sequence[int]:
    """The same buffer ``count`` times in one chain."""
    flags = direction(attempt)
    for index in range(count):
        more = index < count - 1
        ring.descriptor(index, address, length, flags | (NEXT if more else 0), index + 1 if more else 0)
    return [0]


def length_zero(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    return row(attempt, ring, attempt.dice.choice((0, ring.place.room.start, 1 << 63)), 0, attempt.dice.randrange(1, 9))


def length_huge(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    room = attempt.target.window.length - ring.place.room.start
    return one(attempt, ring, ring.place.room.start, attempt.dice.choice((room + 1, 0x80000000, 0xFFFFFFFF)))


def length_overflow(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """Address and length add up to something small, modulo 2^64."""
    length = attempt.dice.randrange(LINE, 0x1000)
    return one(attempt, ring, (1 << 64) - attempt.dice.randrange(1, length), length)


def sum_of_everything(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """All the window that is open to buffers, as often as there are descriptors: gigabytes of the same bytes."""
    start = attempt.target.backend.size
    return row(attempt, ring, start, attempt.target.window.length - start, ring.size)


def outside(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    length = attempt.target.window.length
    return one(attempt, ring, attempt.dice.choice((length, length + 4096, 1 << 32, 1 << 63)), LINE)


def over_the_end(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """The first byte behind the window is the last of the buffer."""
    length = attempt.dice.randrange(1, 4096)
    return one(attempt, ring, attempt.target.window.length - length + 1, length)


def over_registers(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    end = attempt.target.backend.registers_end
    place = attempt.dice.choice((Header.REVISION, Header.WRITE_TRANSACTION, Header.CONFIG, end - 1))
    return one(attempt, ring, place, attempt.dice.choice((1, LINE)))


def over_own_ring(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """The device is to read, or write, the very ring it works on."""
    place = ring.place.ring
    return one(attempt, ring, place.desc, place.end - place.desc)


def over_other_ring(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    place = attempt.dice.choice(attempt.target.places).ring
    return one(attempt, ring, place.desc, place.end - place.desc)


def overlapping(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """What is read is what is written."""
    start = ring.place.room.start
    ring.descriptor(0, start, 256, NEXT, 1)
    ring.descriptor(1, start + attempt.dice.randrange(256), 256, WRITE)
    return [0]


def readable_last(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    start = ring.place.room.start
    ring.descriptor(0, start, LINE, NEXT | WRITE, 1)
    ring.descriptor(1, start + LINE, LINE, 0)
    return [0]


def flags_unknown(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """Bits of the descriptor flags that no version of virtio gives a meaning to in a split ring."""
    ring.descriptor(0, ring.place.room.start, LINE, attempt.dice.randrange(8, 0x10000) & 0xFFF8 | WRITE)
    return [0]


SCENARIOS = (
    chain_scenario("length-zero", "descriptors of no length", length_zero),
    chain_scenario("length-huge", "more bytes than the window has", length_huge, "BufferOutsideWindow"),
    chain_scenario("length-overflow", "address and length overflow", length_overflow, "BufferOutsideWindow"),
    chain_scenario("sum-huge", "the whole window in each descriptor of a long chain", sum_of_everything),
    chain_scenario("address-outside", "a buffer outside the window", outside, "BufferOutsideWindow"),
    chain_scenario("address-end", "a buffer that ends a byte behind the window", over_the_end, "BufferOutsideWindow"),
    chain_scenario("address-registers", "a buffer over the header", over_registers, "BufferOutsideWindow"),
    chain_scenario("address-own-ring", "a buffer over the ring it is offered on", over_own_ring),
    chain_scenario("address-other-ring", "a buffer over any ring of the device", over_other_ring),
    chain_scenario("address-overlap", "readable and writable parts overlap", overlapping),
    chain_scenario("order", "a readable part behind a writable one", readable_last, "ReadableAfterWritable"),
    chain_scenario("flags-unknown", "descriptor flags without a meaning", flags_unknown),
)
