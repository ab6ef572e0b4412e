# SPDX-License-Identifier: MIT
"""Killed at every instruction of random plans on a small packed ring, whose slots and buffer ids are used again and
again: used descriptors come to lie over those of chains in flight, new ones over used ones that nobody has looked at.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial

import pytest

from ivshmem_virtio.core import Chain, DeviceQueue

from .kept_record import chains, pop
from .packed_rig import BUFFER, INDIRECT, TABLE, WRITE, Element, KeptRing
from .single_step import every_instant

SIZE = 7
IDS = range(6)
ROUNDS = 8
POP, PUBLISH = -1, -2
"""Steps of a plan; any other number is the place of a chain among those held."""


@dataclass
class Driver:
    """What the driver has offered and not yet got back, oldest first."""

    ring: KeptRing
    chance: random.Random
    out: dict[int, tuple[list[tuple[int, int]], int]] = field(default_factory=dict)
    """By buffer id: what the device is to find in the chain, and how many slots it takes."""
    parts: int = 0
    offered: int = 0

    def offer(self) -> None:
        """Chains of every kind, until there is no room, or no wish, for another."""
        while free := [buffer_id for buffer_id in IDS if buffer_id not in self.out]:
            room = SIZE - sum(slots for _, slots in self.out.values())
            if not room or self.chance.random() < 0.2:
                return
            buffer_id = self.chance.choice(free)
            kind = self.chance.randrange(1, 5)
            self.offered += 1
            if kind == 4:
                self.offer_table(buffer_id)
            else:
                self.offer_list(buffer_id, min(kind, room))

    def part(self) -> tuple[int, int]:
        """Each piece of memory has a length of its own, so that none can be taken for another."""
        self.parts += 1
        return BUFFER + 8 * (self.parts % 1000), 1 + self.parts % 251

    def offer_list(self, buffer_id: int, length: int) -> None:
        parts = [self.part() for _ in range(length)]
        readable = self.chance.randrange(length)
        elements: list[Element] = [(*part, WRITE if place >= readable else 0) for place, part in enumerate(parts)]
        self.ring.offer(buffer_id, *elements)
        self.out[buffer_id] = parts, length

    def offer_table(self, buffer_id: int) -> None:
        parts = [self.part(), self.part()]
        table = TABLE + 64 * buffer_id
        for place, (address, length) in enumerate(parts):
            self.ring.descriptor(place, address, length, 0, WRITE if place else 0, table=table)
        # Where a descriptor of the ring has its buffer id, one of a table has nothing: flags follow.
        self.ring.offer(buffer_id, (table, 32, INDIRECT))
        self.out[buffer_id] = parts, 1

    def take_back(self) -> None:
        for buffer_id in self.ring.take_back():
            del self.out[buffer_id]


def make_plan(chance: random.Random, held: int, waiting: int) -> list[int]:
    """Take, give back and publish, mixed at random; what is left over stays in flight, or unpublished."""
    steps: list[int] = []
    for _ in range(chance.randrange(4, 12)):
        choice = chance.random()
        if waiting and (choice < 0.45 or not held):
            held, waiting = held + 1, waiting - 1
            steps.append(POP)
        elif held and choice < 0.85:
            held -= 1
            steps.append(chance.randrange(held + 1))
        else:
            steps.append(PUBLISH)
    return steps


def carry_out(queue: DeviceQueue, held: list[Chain], steps: list[int]) -> None:
    for step in steps:
        if step == PUBLISH:
            queue.publish()
        elif step == POP:
            held.append(pop(queue))
        else:
            queue.push(held.pop(step), 0)


def assert_nothing_is_lost(driver: Driver) -> None:
    """What the driver does not find done is done by the successor, with the parts it had, in the order it came."""
    ring = driver.ring
    start = ring.taken
    done = ring.take_back()
    assert len(set(done)) == len(done)
    queue = ring.device_side(resume=True)
    again = chains(queue)
    assert [(chain.head, chain.readable + chain.writable) for chain in again] == [
        (buffer_id, parts) for buffer_id, (parts, _) in driver.out.items() if buffer_id not in done
    ]
    assert ring.take_back() == []
    for chain in reversed(again):
        queue.push(chain, 0)
        queue.publish()
        assert ring.take_back() == [chain.head]
    ring.taken = start


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 63))])
def test_killed_at_every_instant_of_a_plan(seed: int) -> None:
    chance = random.Random(seed)
    driver = Driver(KeptRing(SIZE), chance)
    ring = driver.ring
    queue = ring.device_side(resume=False)
    held: list[Chain] = []
    checked = 0
    for _ in range(ROUNDS):
        driver.offer()
        steps = make_plan(chance, len(held), driver.offered - queue.chains)
        before = ring.memory()
        for memory in every_instant(partial(carry_out, queue, list(held), steps), ring.memory):
            ring.put_back(memory)
            assert_nothing_is_lost(driver)
            checked += 1
        ring.put_back(before)
        carry_out(queue, held, steps)
        driver.take_back()
    assert checked > 10 * ROUNDS
    assert driver.offered > SIZE, "no slot was used again"
