# SPDX-License-Identifier: MIT
"""Killed at every instruction of random plans: direct, chained and indirect buffers, in order and out of order."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ivshmem_virtio.core import Chain, DeviceQueue

from .kept_record import chains, pop
from .single_step import every_instant
from .split_rig import BUFFER, INDIRECT, TABLE, WRITE, KeptRing

NEXT = 1
HEADS = (0, 1, 2, 4, 6, 7)
DIRECT = (0, 1)
CHAINED = {2: 3, 4: 5}
INDIRECT_HEADS = (6, 7)
LENGTHS = {0: (0, 16), 1: (0, 16), 2: (16, 16), 4: (16, 16), 6: (8, 24), 7: (8, 24)}
"""Readable and writable bytes by head."""


class PlanRig(KeptRing):
    """Buffers of every kind, to be taken and given back as a plan says."""

    def __init__(self) -> None:
        super().__init__()
        for head in DIRECT:
            self.descriptor(head, BUFFER + 16 * head, 16, WRITE)
        for head, second in CHAINED.items():
            self.descriptor(head, BUFFER + 64 * head, 16, NEXT, second)
            self.descriptor(second, BUFFER + 64 * head + 16, 16, WRITE)
        for number, head in enumerate(INDIRECT_HEADS):
            table = TABLE + 64 * number
            self.descriptor(head, table, 32, INDIRECT)
            self.descriptor(0, BUFFER + 64 * head, 8, NEXT, 1, table=table)
            self.descriptor(1, BUFFER + 64 * head + 8, 24, WRITE, table=table)

    def left(self) -> list[tuple[int, int, int]]:
        """What a successor gets to do: (head, readable, writable) of each chain, in its order."""
        return [
            (chain.head, chain.readable_length, chain.writable_length)
            for chain in chains(self.device_side(resume=True))
        ]


def plan(chance: random.Random, queue: DeviceQueue, *, in_order: bool) -> Callable[[], None]:
    """Take, give back and publish, mixed at random, until everything is back. Decided before, carried out later."""
    steps: list[int | None] = []
    taken = 0
    held: list[int] = []
    while taken < len(HEADS) or held:
        choice = chance.random()
        if taken < len(HEADS) and (choice < 0.5 or not held):
            held.append(taken)
            taken += 1
            steps.append(-1)
        elif choice < 0.85:
            steps.append(held.pop(0 if in_order else chance.randrange(len(held))))
        else:
            steps.append(None)
    steps.append(None)

    def carry_out() -> None:
        popped: list[Chain] = []
        for step in steps:
            if step is None:
                queue.publish()
            elif step < 0:
                popped.append(pop(queue))
            else:
                queue.push(popped[step], 1)

    return carry_out


@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "out of order"])
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 42))])
def test_killed_at_every_instant_of_a_plan(seed: int, in_order: bool) -> None:
    chance = random.Random(seed)
    rig = PlanRig()
    queue = rig.device_side(resume=False)
    order = list(HEADS)
    chance.shuffle(order)
    rig.make_available(*order)
    instants = every_instant(plan(chance, queue, in_order=in_order), rig.memory)
    assert len(instants) > 6 * len(HEADS)
    for memory in instants:
        rig.put_back(memory)
        done = rig.came_back()
        assert len(set(done)) == len(done)
        assert rig.left() == [(head, *LENGTHS[head]) for head in order if head not in done]
