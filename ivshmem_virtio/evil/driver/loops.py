# SPDX-License-Identifier: MIT
"""Chains that never end, or go on where no descriptor is."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.evil.driver.available import plain
from ivshmem_virtio.evil.driver.chains import chain_scenario
from ivshmem_virtio.evil.driver.ring import INDIRECT, NEXT, WRITE, RawRing
from ivshmem_virtio.evil.driver.scenario import Attempt

LINE = 64


def loop_of(length: int, ring: RawRing) -> Sequence[int]:
    """``length`` descriptors in a circle."""
    for index in range(length):
        plain(ring, index, index % 16, WRITE | NEXT, (index + 1) % length)
    return [0]


def loop_self(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    return loop_of(1, ring)


def loop_some(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    return loop_of(attempt.dice.randrange(1, ring.size), ring)


def loop_all(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    return loop_of(ring.size, ring)


def loop_empty(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """A circle of descriptors without a byte: no sum ever grows too large."""
    for index in range(2):
        ring.descriptor(index, ring.place.room.start, 0, NEXT, 1 - index)
    return [0]


def loop_indirect(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    table = ring.place.room.start
    count = attempt.dice.randrange(1, 9)
    for index in range(count):
        ring.entry(table, index, table + 1024, LINE, WRITE | NEXT, (index + 1) % count)
    ring.descriptor(0, table, 16 * count, INDIRECT)
    return [0]


def next_outside(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    plain(ring, 0, 0, WRITE | NEXT, attempt.dice.choice((ring.size, 0x7FFF, 0xFFFF)))
    return [0]


def next_outside_indirect(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    table = ring.place.room.start
    ring.entry(table, 0, table + 1024, LINE, WRITE | NEXT, attempt.dice.choice((1, 2, 0xFFFF)))
    ring.descriptor(0, table, 16, INDIRECT)
    return [0]


def too_long_indirect(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """One descriptor more than the queue has, no loop."""
    table = ring.place.room.start
    count = ring.size + 1
    for index in range(count):
        more = index < count - 1
        ring.entry(table, index, table, 1, WRITE | (NEXT if more else 0), index + 1 if more else 0)
    ring.descriptor(0, table, 16 * count, INDIRECT)
    return [0]


SCENARIOS = (
    chain_scenario("loop-self", "a descriptor whose next is itself", loop_self, "ChainTooLong"),
    chain_scenario("loop-some", "some descriptors in a circle", loop_some, "ChainTooLong"),
    chain_scenario("loop-all", "all descriptors of the queue in a circle", loop_all, "ChainTooLong"),
    chain_scenario("loop-empty", "descriptors of no length in a circle", loop_empty, "ChainTooLong"),
    chain_scenario("loop-indirect", "a circle in an indirect table", loop_indirect, "ChainTooLong"),
    chain_scenario("long-indirect", "more descriptors than the queue has", too_long_indirect, "ChainTooLong"),
    chain_scenario("next-outside", "next points outside the descriptor table", next_outside, "NextOutsideTable"),
    chain_scenario(
        "next-outside-indirect", "next points outside an indirect table", next_outside_indirect, "NextOutsideTable"
    ),
)
