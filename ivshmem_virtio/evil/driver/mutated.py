# SPDX-License-Identifier: MIT
"""Requests with mistakes in them, many at a time: what no list of scenarios thought of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from ivshmem_virtio.evil.driver.judge import UNKNOWN, broken_rule
from ivshmem_virtio.evil.driver.mutations import Mutant, mutate
from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.requests import SLOT, TABLE, TABLE_ENTRIES, Build, request_for
from ivshmem_virtio.evil.driver.ring import INDIRECT, NEXT, RawRing
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario

BATCH = 32
DESCRIPTORS = 4
"""Of each chain, at most, when it is not indirect."""
INDIRECT_SHARE = 0.3
WRONG_HEAD_SHARE = 0.002


class Mutants:
    """Chains for one ring: each has its own descriptors and its own room."""

    def __init__(self, ring: RawRing, device_id: int) -> None:
        self.ring = ring
        self._start = ring.place.room.start
        self._window = len(ring.memory)
        self._build: Build = request_for(device_id, ring.place.index)
        self.slots = min(ring.size // DESCRIPTORS, ring.place.room.length // SLOT, BATCH)

    def heads(self, dice: Random, count: int) -> list[int]:
        """Write ``count`` mutated chains; their heads."""
        heads = []
        for number in range(count):
            head = self._write(dice, number)
            if dice.random() < WRONG_HEAD_SHARE:
                head = int(dice.random() * 0x10000)
            heads.append(head)
        return heads

    def _write(self, dice: Random, number: int) -> int:
        memory, slot, first = self.ring.memory, self._start + SLOT * number, DESCRIPTORS * number
        mutant = Mutant(self._build(dice, memory, slot), dice.random() < INDIRECT_SHARE, slot, self._window)
        mutate(dice, mutant, memory)
        ring = self.ring
        if not mutant.indirect:
            _lay(ring.descriptor, first, mutant)
            return first
        _lay(partial(ring.entry, slot + TABLE), 0, mutant)
        table = slot + TABLE if mutant.table is None else mutant.table
        length = 16 * len(mutant.parts) if mutant.entries is None else mutant.entries & 0xFFFFFFFF
        ring.descriptor(first, table & (1 << 64) - 1, length, INDIRECT)
        return first


def _lay(write: Callable[[int, int, int, int, int], None], first: int, mutant: Mutant) -> None:
    """The parts into a table, each with the next; the last goes on where the mutant says so."""
    last = len(mutant.parts) - 1
    for index, (address, length, flags) in enumerate(mutant.parts[:TABLE_ENTRIES]):
        following = first + index + 1
        if index < last:
            flags |= NEXT
        elif mutant.following is not None:
            flags, following = flags | NEXT, mutant.following
        write(first + index, address & (1 << 64) - 1, length & 0xFFFFFFFF, flags, following & 0xFFFF)


def offer_others(attempt: Attempt) -> list[tuple[RawRing, int]]:
    """Mutants on every queue whose chains are all back; where they begin."""
    offered = []
    for ring in attempt.others:
        if ring.used == ring.position:
            mutants = Mutants(ring, attempt.target.layout.device_id)
            offered.append((ring, ring.index))
            ring.offer(mutants.heads(attempt.dice, mutants.slots))
            ring.kick()
            attempt.report.chains += mutants.slots
    return offered


def batch(attempt: Attempt) -> Outcome:
    """As many mutants as go into one batch, on all queues; waits for those that the device serves at once."""
    target, report = attempt.target, attempt.report
    offered = offer_others(attempt)
    ring = attempt.ring
    mutants = Mutants(ring, target.layout.device_id)
    before, index = ring.position, ring.index
    ring.offer(mutants.heads(attempt.dice, mutants.slots))
    ring.kick()
    target.wait(lambda: ring.used == ring.position or target.broken)
    returned = (ring.used - before) & 0xFFFF
    if not target.broken:
        report.chains += returned
        return Outcome.COMPLETED if returned == mutants.slots else Outcome.IGNORED
    report.chains += min(returned + 1, mutants.slots)
    rules = [broken_rule(target, place, position) for place, position in [(ring, index), *offered]]
    report.rules[next((rule for rule in rules if rule != UNKNOWN), UNKNOWN)] += 1
    return Outcome.NEEDS_RESET


SCENARIOS = (Scenario("chains-mutated", "batches of requests with mistakes in them, on all queues", batch),)
