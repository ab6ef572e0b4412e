# SPDX-License-Identifier: MIT
"""Indirect tables: nested, of impossible lengths, in impossible places, without being negotiated."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.evil.driver.chains import chain_scenario, offer
from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.ring import INDIRECT, NEXT, WRITE, RawRing
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario
from ivshmem_virtio.transport.features import Feature

LINE = 64
HUGE = ((1 << 64) - 16, (1 << 64) - 1, 1 << 63, 1 << 32)


def sound_table(ring: RawRing, count: int = 1) -> int:
    """A table of writable descriptors; its window offset."""
    table = ring.place.room.start
    for index in range(count):
        more = index < count - 1
        ring.entry(table, index, table + 2048, LINE, WRITE | (NEXT if more else 0), index + 1 if more else 0)
    return table


def nested(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    table = sound_table(ring)
    ring.entry(table, 0, table + 1024, 16, INDIRECT)
    ring.entry(table + 1024, 0, table + 2048, LINE, WRITE)
    ring.descriptor(0, table, 16, INDIRECT)
    return [0]


def nested_in_itself(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    table = sound_table(ring)
    ring.entry(table, 0, table, 16, INDIRECT)
    ring.descriptor(0, table, 16, INDIRECT)
    return [0]


def with_next(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    ring.descriptor(0, sound_table(ring), 16, INDIRECT | NEXT, 1)
    ring.descriptor(1, ring.place.room.start + 2048, LINE, WRITE)
    return [0]


def length_of_table(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    ring.descriptor(0, sound_table(ring), attempt.dice.choice((0, 1, 15, 17, 33)), INDIRECT)
    return [0]


def outside(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    length = attempt.target.window.length
    ring.descriptor(0, attempt.dice.choice((length, length - 8, *HUGE)), 16, INDIRECT)
    return [0]


def longer_than_window(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    ring.descriptor(0, sound_table(ring), attempt.dice.choice((0xFFFFFFF0, 0x80000000)), INDIRECT)
    return [0]


def over_registers(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    end = attempt.target.backend.registers_end
    ring.descriptor(0, attempt.dice.choice((0, 16, end - 16, end - 1)), 16, INDIRECT)
    return [0]


def over_ring(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """The table is the ring's own: its first entry, seen from there, is indirect itself."""
    ring.descriptor(0, ring.place.ring.desc, 16 * ring.size, INDIRECT)
    return [0]


def misaligned(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """A table at an odd address, which is allowed."""
    table = ring.place.room.start + attempt.dice.randrange(1, 16)
    ring.entry(table, 0, ring.place.room.start + 2048, LINE, WRITE)
    ring.descriptor(0, table, 16, INDIRECT)
    return [0]


def behind_direct(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """Direct descriptors, and a table at their end, which is allowed."""
    ring.descriptor(0, ring.place.room.start + 2048, LINE, NEXT, 1)
    ring.descriptor(1, sound_table(ring), 16, INDIRECT)
    return [0]


def not_negotiated(attempt: Attempt) -> Outcome:
    """The driver gave up VIRTIO_F_INDIRECT_DESC, and uses it."""
    attempt.target.bring_up(without=Feature.INDIRECT_DESC)
    ring = attempt.ring
    ring.descriptor(0, sound_table(ring), 16, INDIRECT)
    return offer(attempt, ring, [0])


SCENARIOS = (
    chain_scenario("indirect-nested", "a table in a table", nested, "IndirectNested"),
    chain_scenario("indirect-in-itself", "a table that contains itself", nested_in_itself, "IndirectNested"),
    chain_scenario("indirect-over-ring", "the ring's own table as indirect table", over_ring, "IndirectNested"),
    chain_scenario("indirect-with-next", "INDIRECT and NEXT together", with_next, "IndirectWithNext"),
    chain_scenario("indirect-length", "a table of no whole descriptors", length_of_table, "IndirectTableLength"),
    chain_scenario("indirect-outside", "a table outside the window", outside, "IndirectTableOutsideWindow"),
    chain_scenario("indirect-huge", "a table longer than the window", longer_than_window, "IndirectTableOutsideWindow"),
    chain_scenario("indirect-registers", "a table over the header", over_registers, "IndirectTableOutsideWindow"),
    chain_scenario("indirect-misaligned", "a table at an odd address, which is allowed", misaligned),
    chain_scenario("indirect-last", "a table behind direct descriptors, which is allowed", behind_direct),
    Scenario("indirect-uninvited", "a table although that was not negotiated", not_negotiated, "IndirectNotNegotiated"),
)
