# SPDX-License-Identifier: MIT
"""Packed rings full of nonsense: either of our sides says exactly what the model says, and stays inside the window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import hypothesis.strategies as st
from hypothesis import given, settings

from ivshmem_virtio.core import DeviceQueue, DriverQueue

from .guarded_window import GuardedWindow
from .packed_model import AVAIL, USED, PackedModelDevice, PackedModelDriver
from .split_model import DESC, F_WRITE, Layout
from .verdict import name_of, next_chain, verdict

LENGTH = 0x4000
DESC_AT, DRIVER_AT, DEVICE_AT, TABLE_AT, BUFFER_AT = 0x1000, 0x1800, 0x1A00, 0x1C00, 0x2000
SIZES = (1, 2, 3, 4, 7, 8, 16)
RULES = {
    "ListNotAvailable", "RingOverrun", "ChainTooLong", "IndirectInList", "IndirectNotNegotiated",
    "IndirectTableLength", "IndirectTableOutsideWindow", "BufferIdOutsideQueue", "BufferIdInFlight",
    "BufferOutsideWindow", "ReadableAfterWritable", "chain", "empty",
}  # fmt: skip

guarded = GuardedWindow(LENGTH)
mirror = GuardedWindow(LENGTH)
seeds = st.integers(0, (1 << 64) - 1)


def descriptor(dice: Random, size: int, wrap: bool) -> tuple[int, int, int, int]:
    """Sound ones are more likely, so that some chains grow long."""
    sound = dice.random() > 0.15
    address = dice.choice((0x2000, 0x3000, TABLE_AT)) if sound else dice.choice((0, LENGTH - 16, LENGTH, (1 << 64) - 8))
    length = dice.choice((16, 32, 64)) if dice.random() > 0.1 else dice.choice((0, 1, 17, 16 * 20, (1 << 32) - 16))
    flags = dice.choice((0, 0, 1, 1, 2, 2, 3, 4, 4, 6)) if dice.random() > 0.05 else dice.randrange(0x10000)
    marks = (AVAIL, USED) if wrap else (USED, AVAIL)
    flags = flags & ~(AVAIL | USED) | (marks[0] if dice.random() > 0.05 else marks[1])
    buffer_id = dice.randrange(size) if dice.random() > 0.05 else dice.choice((size, 0xFFFF))
    return address, length, buffer_id, flags


def device_verdicts(seed: int) -> Iterator[str]:
    """Take chains from a made-up ring with both, over more than a lap; names of what was met."""
    dice = Random(seed)
    layout = Layout(
        guarded.memory, dice.choice(SIZES), DESC_AT, DRIVER_AT, DEVICE_AT, False, dice.random() < 0.8,
        dice.choice((0, 0x1000)), True,
    )  # fmt: skip
    for entry in range(12):
        DESC.pack_into(guarded.memory, TABLE_AT + 16 * entry, *descriptor(dice, layout.size, True))
    for slot in range(layout.size):
        DESC.pack_into(guarded.memory, DESC_AT + 16 * slot, *descriptor(dice, layout.size, True))
    model = PackedModelDevice(layout)
    device = DeviceQueue(
        guarded.window, layout.size, DESC_AT, DRIVER_AT, DEVICE_AT,
        packed=True, event_idx=False, indirect=layout.indirect, minimum=layout.minimum,
    )  # fmt: skip
    for turn in range(2 * layout.size + 1):
        expected = next_chain(model.pop)
        got = next_chain(device.pop)
        assert got == expected, f"seed {seed}"
        yield name_of(expected)
        if expected is None or isinstance(expected, type):
            return
        # The driver goes on in its next lap, whether it may or not.
        slot = turn % layout.size
        DESC.pack_into(guarded.memory, DESC_AT + 16 * slot, *descriptor(dice, layout.size, dice.random() < 0.3))


@settings(max_examples=800, deadline=None)
@given(seeds)
def test_same_verdict_of_the_device_side(seed: int) -> None:
    assert list(device_verdicts(seed))
    guarded.check_canaries()


def test_made_up_rings_break_every_rule() -> None:
    """Otherwise the test before this one would prove less than it seems to. ChainTooLarge needs a larger window."""
    met = Counter(name for seed in range(5000) for name in device_verdicts(seed))
    assert set(met) == RULES
    assert min(met.values()) >= 5, met


@settings(max_examples=500, deadline=None)
@given(seeds)
def test_same_verdict_of_the_driver_side(seed: int) -> None:
    """The device gives back what it likes, in any order, and writes over all other descriptors."""
    dice = Random(seed)
    size = dice.choice(SIZES)
    places = size, DESC_AT, DRIVER_AT, DEVICE_AT
    model = PackedModelDriver(Layout(mirror.memory, *places, False, True, 0, True))
    ours = DriverQueue(guarded.window, *places, packed=True, event_idx=False, indirect=True)
    tokens: dict[object, None] = {}
    for token in range(dice.randrange(1, 9)):
        readable, writable = [(BUFFER_AT, 8)] * dice.randrange(3), [(BUFFER_AT, 8)] * dice.randrange(1, 3)
        if len(readable) + len(writable) <= ours.free:
            model.add(readable, writable, token)
            ours.add(readable, writable, token)
            tokens[token] = None
            if dice.random() < 0.8:
                model.publish()
                ours.publish()
    expected: object = ()
    while expected and not isinstance(expected, type):
        place = model.next_used
        length = dice.choice((0, 8, 16, 17, 0xFFFFFFFF))
        lie = dice.random() < 0.1
        buffer_id = dice.randrange(0x10000) if lie else dice.choice([*model.offered, 0, size])
        marks = place.used if dice.random() < 0.95 else dice.randrange(0x10000)
        for memory in (mirror.memory, guarded.memory):
            memory[DESC_AT : DESC_AT + 16 * size] = dice.randbytes(1) * (16 * size)
            entry = DESC_AT + 16 * place.slot
            DESC.pack_into(memory, entry, 0, length, buffer_id, marks | dice.choice((0, F_WRITE)))
        guarded.memory[DESC_AT : DESC_AT + 16 * size] = mirror.memory[DESC_AT : DESC_AT + 16 * size]
        expected, got = verdict(model.get), verdict(ours.get)
        # Both hand out ids in an order of their own once some came back; until then they agree on all.
        assert got == expected, f"seed {seed}"
        assert ours.free == model.free
        if isinstance(expected, tuple):
            del tokens[expected[0]]
    assert ours.broken == isinstance(expected, type)
    guarded.check_canaries()
