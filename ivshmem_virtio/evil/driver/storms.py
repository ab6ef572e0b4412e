# SPDX-License-Identifier: MIT
"""Doorbells without a reason, as fast as they go."""

from __future__ import annotations

import time

from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario

STORM_SECONDS = 0.2
AT_ONCE = 256


def one_vector(attempt: Attempt) -> Outcome:
    """The doorbell of the queue that is served."""
    return storm(attempt, [attempt.ring.place.vector])


def every_vector(attempt: Attempt) -> Outcome:
    """All vectors that the link may ring."""
    return storm(attempt, list(range(attempt.target.layout.backend_vectors)))


def storm(attempt: Attempt, vectors: list[int]) -> Outcome:
    """Nothing but ringing for a while; then a chain, which is to be served all the same."""
    target = attempt.target
    until = time.monotonic() + STORM_SECONDS
    while time.monotonic() < until:
        for _ in range(AT_ONCE):
            for vector in vectors:
                target.link.ring(vector)
    ring = attempt.ring
    ring.descriptor(0, ring.place.room.start, 64, 2)
    ring.offer([0])
    ring.kick()
    attempt.report.chains += 1
    return Outcome.COMPLETED if target.wait(lambda: ring.used == ring.position) else Outcome.IGNORED


SCENARIOS = (
    Scenario("doorbell-storm", "one doorbell at full speed", one_vector),
    Scenario("doorbell-storm-all", "all doorbells of the link at full speed", every_vector),
)
