# SPDX-License-Identifier: MIT
"""Offering chains, and seeing what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ivshmem_virtio.evil.driver.judge import broken_rule
from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.ring import RawRing
from ivshmem_virtio.evil.driver.scenario import Act, Attempt, Scenario

Craft = Callable[[Attempt, RawRing], Sequence[int]]
"""Writes descriptors of a queue; returns the heads to be made available."""


def offer(attempt: Attempt, ring: RawRing, heads: Sequence[int]) -> Outcome:
    """Make chains available, kick, and wait until the device has served all of them or broken off."""
    before = ring.index
    ring.offer(heads)
    attempt.report.chains += len(heads)
    return watch(attempt, ring, before)


def watch(attempt: Attempt, ring: RawRing, before: int) -> Outcome:
    """Kick, and wait; ``before``: the ring's ``index`` before what is new. Every earlier chain is back."""
    target, expected = attempt.target, ring.position
    ring.kick()
    target.wait(lambda: ring.used == expected or target.broken)
    if target.broken:
        attempt.report.rules[broken_rule(target, ring, before)] += 1
        return Outcome.NEEDS_RESET
    return Outcome.COMPLETED if ring.used == expected else Outcome.IGNORED


def crafted(craft: Craft) -> Act:
    """An attempt that offers what ``craft`` writes on the queue that the device serves."""

    def act(attempt: Attempt) -> Outcome:
        ring = attempt.ring
        return offer(attempt, ring, craft(attempt, ring))

    return act


def chain_scenario(name: str, text: str, craft: Craft, rule: str = "", *, split_only: bool = False) -> Scenario:
    """A scenario made of chains alone."""
    return Scenario(name, text, crafted(craft), rule, split_only)
