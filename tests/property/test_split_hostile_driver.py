# SPDX-License-Identifier: MIT
"""Rings full of nonsense: our device side says exactly what the model says, and touches nothing outside the window."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ivshmem_virtio import errors
from ivshmem_virtio.core import DeviceQueue

from .guarded_window import GuardedWindow
from .split_model import DESC, Layout, ModelDevice
from .verdict import name_of, next_chain

LENGTH = 0x4000
DESC_AT, DRIVER_AT, DEVICE_AT, TABLE_AT = 0x1000, 0x1800, 0x1A00, 0x1C00
TABLE_ENTRIES = 12

guarded = GuardedWindow(LENGTH)

# Values near every edge that a check could get wrong; sound ones are more likely, so that chains grow long.
SOUND_ADDRESSES = (0x2000, 0x2100, 0x3000, TABLE_AT, TABLE_AT + 16, TABLE_AT + 7)
ODD_ADDRESSES = (0, 0xFFF, 0x1000, LENGTH - 16, LENGTH - 1, LENGTH, 1 << 63, (1 << 64) - 16, (1 << 64) - 1)
SOUND_LENGTHS = (16, 32, 48, 16 * TABLE_ENTRIES)
ODD_LENGTHS = (0, 1, 15, 17, LENGTH - 0x2000, LENGTH, 1 << 31, (1 << 32) - 16, (1 << 32) - 1)
SOUND_FLAGS = (0, 1, 1, 1, 2, 3, 4, 6)

Descriptor = tuple[int, int, int, int]


@dataclass
class Nonsense:
    size: int
    indirect: bool
    minimum: int
    index: int
    ahead: int
    heads: list[int]
    descriptors: list[Descriptor]
    table: list[Descriptor]


def mostly(dice: Random, sound: Sequence[int], odd: Sequence[int]) -> int:
    return dice.choice(odd if dice.random() < 0.08 else sound)


def descriptor(dice: Random, entries: int) -> Descriptor:
    return (
        mostly(dice, SOUND_ADDRESSES, ODD_ADDRESSES),
        mostly(dice, SOUND_LENGTHS, ODD_LENGTHS),
        mostly(dice, SOUND_FLAGS, range(0x10000)),
        mostly(dice, range(entries), (entries, entries + 1, 0xFFFF)),
    )


def nonsense(seed: int) -> Nonsense:
    """A made-up ring, the same for the same seed."""
    dice = Random(seed)
    size = 1 << dice.randrange(5)
    return Nonsense(
        size=size,
        indirect=dice.random() < 0.8,
        minimum=dice.choice((0, 0x1000)),
        index=dice.choice((0, 65530, 65535)),
        ahead=mostly(dice, range(size + 1), (size + 1, 0xFFFF)),
        heads=[mostly(dice, range(size), (size, 0xFFFF)) for _ in range(size)],
        descriptors=[descriptor(dice, size) for _ in range(size)],
        table=[descriptor(dice, TABLE_ENTRIES) for _ in range(TABLE_ENTRIES)],
    )


seeds = st.integers(0, (1 << 64) - 1)


def write(case: Nonsense) -> Layout:
    layout = Layout(
        guarded.memory, case.size, DESC_AT, DRIVER_AT, DEVICE_AT, False, case.indirect, minimum=case.minimum
    )
    for table, entries in ((DESC_AT, case.descriptors), (TABLE_AT, case.table)):
        for number, entry in enumerate(entries):
            DESC.pack_into(guarded.memory, table + 16 * number, *entry)
    layout.put16(DRIVER_AT, 0)
    layout.put16(DRIVER_AT + 2, case.index + case.ahead)
    for number, head in enumerate(case.heads):
        layout.put16(DRIVER_AT + 4 + 2 * number, head)
    return layout


def device_for(layout: Layout, index: int) -> DeviceQueue:
    return DeviceQueue(
        guarded.window,
        layout.size,
        DESC_AT,
        DRIVER_AT,
        DEVICE_AT,
        event_idx=layout.event_idx,
        indirect=layout.indirect,
        index=index,
        minimum=layout.minimum,
    )


def check_verdicts(seed: int) -> Iterator[str]:
    """Take chains from a made-up ring with both; names of what was met."""
    case = nonsense(seed)
    layout = write(case)
    model, device = ModelDevice(layout, case.index), device_for(layout, case.index)
    for _ in range(case.size + 1):
        expected = next_chain(model.pop)
        assert next_chain(device.pop) == expected, f"seed {seed}"
        yield name_of(expected)
        if expected is None:
            return
        if isinstance(expected, type):
            # Broken for good, whatever the driver writes afterwards.
            layout.put16(DRIVER_AT + 2, case.index)
            assert next_chain(device.pop) is expected, f"seed {seed}"
            return


@settings(max_examples=2000, deadline=None)
@given(seeds)
def test_same_verdict_as_the_model(seed: int) -> None:
    assert list(check_verdicts(seed))


def test_made_up_rings_break_every_rule() -> None:
    """Otherwise the test before this one would prove less than it seems to. ChainTooLarge needs a larger window."""
    met = Counter(name for seed in range(6000) for name in check_verdicts(seed))
    rules = {
        "AvailableIndexJump", "HeadOutsideQueue", "HeadInFlight", "NextOutsideTable", "ChainTooLong",
        "BufferOutsideWindow", "ReadableAfterWritable", "IndirectNotNegotiated", "IndirectWithNext", "IndirectNested",
        "IndirectTableLength", "IndirectTableOutsideWindow", "chain", "empty",
    }  # fmt: skip
    assert set(met) == rules
    assert min(met.values()) >= 20, met


@settings(max_examples=600, deadline=None)
@given(seeds, st.binary(min_size=64, max_size=64))
def test_whatever_is_accepted_stays_inside(seed: int, filling: bytes) -> None:
    case = nonsense(seed)
    layout = write(case)
    device = device_for(layout, case.index)
    chains = []
    try:
        while (chain := device.pop()) is not None:
            chains.append(chain)
    except errors.RingViolation:
        pass
    for chain in chains:
        for offset, length in chain.readable + chain.writable:
            assert case.minimum <= offset
            assert offset + length <= LENGTH
        assert len(chain.read(0, 1 << 40)) == chain.readable_length
        assert chain.write(0, filling * (chain.writable_length // 64 + 1)) == chain.writable_length
        device.push(chain, min(chain.writable_length, 0xFFFFFFFF))
    device.publish()
    guarded.check_canaries()


@settings(max_examples=600, deadline=None)
@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 0x37F), st.integers(0, 255)), max_size=40),
    st.lists(st.integers(0, 3), min_size=1, max_size=20),
)
def test_bytes_flipped_between_steps(order: int, flips: list[tuple[int, int]], steps: list[int]) -> None:
    """The rings change under a running device: only violations come out."""
    size = 1 << order
    layout = Layout(guarded.memory, size, DESC_AT, DRIVER_AT, DEVICE_AT, True, True)
    guarded.memory[DESC_AT:TABLE_AT] = bytes(TABLE_AT - DESC_AT)
    for number in range(size):
        DESC.pack_into(guarded.memory, DESC_AT + 16 * number, 0x2000 + 64 * number, 64, 2 * (number % 2), 0)
    layout.put16(DRIVER_AT + 2, size)
    device = device_for(layout, 0)
    held = []
    areas = [DESC_AT + i for i in range(16 * size)] + [DRIVER_AT + i for i in range(6 + 2 * size)]
    areas += [DEVICE_AT + i for i in range(6 + 8 * size)]
    for step in steps:
        if flips:
            place, value = flips.pop()
            guarded.memory[areas[place % len(areas)]] = value
        try:
            if step < 2 and (chain := device.pop()) is not None:
                held.append(chain)
            elif step == 2 and held:
                device.push(held.pop(0), 0)
                device.publish()
            elif step == 3:
                device.enable_notifications()
        except errors.RingViolation:
            assert device.broken
        assert device.in_flight == len(held)
        assert len(held) <= size
    guarded.check_canaries()


@pytest.mark.parametrize("size", [1, 2, 32768])
def test_the_device_area_is_never_an_input(size: int) -> None:
    """Used index and avail_event are written and never read back."""
    wide = GuardedWindow(1 << 20)
    desc, driver, device_at = 0, 0x80000, 0xA0000
    layout = Layout(wide.memory, size, desc, driver, device_at, True, False)
    DESC.pack_into(wide.memory, desc, 0xFF000, 16, 2, 0)
    queue = DeviceQueue(wide.window, size, desc, driver, device_at, event_idx=True, indirect=False)
    for number in range(1, 4):
        layout.put16(driver + 2, number)
        wide.memory[device_at : device_at + 6 + 8 * size] = b"\xff" * (6 + 8 * size)
        chain = queue.pop()
        assert chain is not None
        queue.push(chain, 5)
        queue.publish()
        assert layout.get16(device_at + 2) == number
        assert not queue.enable_notifications()
        assert layout.get16(layout.avail_event) == number
