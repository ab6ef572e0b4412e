# SPDX-License-Identifier: MIT
"""The available ring: indices that jump, heads that do not exist, heads offered twice."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.evil.driver.chains import chain_scenario, watch
from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.ring import WRITE, RawRing
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario

LINE = 64


def plain(ring: RawRing, index: int, slot: int = 0, flags: int = WRITE, following: int = 0) -> None:
    """A descriptor of 64 bytes in the ``slot``-th line of the queue's room: nothing is wrong with it."""
    ring.descriptor(index, ring.place.room.start + LINE * slot, LINE, flags, following)


def jump(attempt: Attempt) -> Outcome:
    """Claim more entries than the ring has."""
    ring = attempt.ring
    plain(ring, 0)
    return _claim(attempt, ring.position + attempt.dice.randrange(ring.size + 1, 0x8000))


def backwards(attempt: Attempt) -> Outcome:
    """Take an index back."""
    return _claim(attempt, attempt.ring.position - attempt.dice.randrange(1, 0x100))


def _claim(attempt: Attempt, index: int) -> Outcome:
    ring = attempt.ring
    before, ring.position = ring.position, index & 0xFFFF
    ring.publish(index)
    return watch(attempt, ring, before)


def full_of_one(attempt: Attempt) -> Outcome:
    """A ring full of the same entry, because the index moved by all of it and nothing else was written."""
    plain(attempt.ring, 0)
    return _claim(attempt, attempt.ring.position + attempt.ring.size)


def head_outside(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    return [attempt.dice.choice((ring.size, ring.size + 1, 0x8000, 0xFFFF))]


def head_twice(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    plain(ring, 0)
    return [0] * attempt.dice.randrange(2, ring.size + 1)


def flags_of_ring(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    attempt.target.window.store16(ring.place.ring.driver, attempt.dice.randrange(0x10000))
    plain(ring, 0)
    return [0]


def used_ring(attempt: Attempt, ring: RawRing) -> Sequence[int]:
    """What only the device may write is overwritten; it is to publish its own numbers all the same."""
    place = ring.place.ring
    attempt.target.window.write(place.device, attempt.dice.randbytes(place.end - place.device))
    # Not what is waited for, or it would look served at once.
    attempt.target.window.store16(place.device + 2, ring.position)
    plain(ring, 0)
    return [0]


SCENARIOS = (
    Scenario("available-jump", "the available index jumps ahead", jump, "AvailableIndexJump", True),
    Scenario("available-back", "the available index goes backwards", backwards, "AvailableIndexJump", True),
    Scenario("available-stale", "the index moves by a ring that nobody filled", full_of_one, "HeadInFlight", True),
    chain_scenario("head-outside", "an available entry names no descriptor", head_outside, "HeadOutsideQueue"),
    chain_scenario("head-twice", "one head is made available again and again", head_twice, "HeadInFlight"),
    chain_scenario("available-flags", "nonsense in the flags of the available ring", flags_of_ring, split_only=True),
    chain_scenario("used-overwritten", "the driver writes the device's used ring", used_ring, split_only=True),
)
