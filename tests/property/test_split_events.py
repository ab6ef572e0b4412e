# SPDX-License-Identifier: MIT
"""Event index arithmetic at every place of the 16-bit circle, and rings that go round it."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ivshmem_virtio.core import DeviceQueue, DriverQueue

from .guarded_window import GuardedWindow
from .split_model import DESC, Layout, stepped_over

DESC_AT, DRIVER_AT, DEVICE_AT, BUFFER_AT = 0x1000, 0x2000, 0x3000, 0x4000
SIZE = 16

guarded = GuardedWindow(0x5000)

positions = st.one_of(st.integers(0, 0xFFFF), st.integers(0xFFE0, 0xFFFF), st.integers(0, 32))
near = st.one_of(st.integers(-20, 20), st.integers(0, 0xFFFF))


@settings(max_examples=400, deadline=None)
@given(index=positions, distance=near, count=st.integers(0, SIZE))
def test_device_notifies_when_it_steps_over_used_event(index: int, distance: int, count: int) -> None:
    layout = Layout(guarded.memory, SIZE, DESC_AT, DRIVER_AT, DEVICE_AT, True, False)
    for number in range(SIZE):
        DESC.pack_into(guarded.memory, DESC_AT + 16 * number, BUFFER_AT, 8, 2, 0)
        layout.put16(DRIVER_AT + 4 + 2 * number, number)
    layout.put16(DRIVER_AT, 1)  # the flag has no say with the event index
    layout.put16(DRIVER_AT + 2, index + count)
    layout.put16(layout.used_event, index + distance)
    queue = DeviceQueue(
        guarded.window, SIZE, DESC_AT, DRIVER_AT, DEVICE_AT, event_idx=True, indirect=False, index=index
    )
    while (chain := queue.pop()) is not None:
        queue.push(chain, 0)
    wanted = queue.publish()
    assert wanted == stepped_over((index + distance) % 65536, index, (index + count) % 65536)
    assert queue.notifications_wanted == int(wanted)
    assert queue.notifications_suppressed == int(count > 0 and not wanted)


@settings(max_examples=400, deadline=None)
@given(index=positions, distance=near, count=st.integers(0, SIZE))
def test_driver_notifies_when_it_steps_over_avail_event(index: int, distance: int, count: int) -> None:
    layout = Layout(guarded.memory, SIZE, DESC_AT, DRIVER_AT, DEVICE_AT, True, False)
    queue = DriverQueue(
        guarded.window, SIZE, DESC_AT, DRIVER_AT, DEVICE_AT, event_idx=True, indirect=False, index=index
    )
    layout.put16(DEVICE_AT, 1)
    layout.put16(layout.avail_event, index + distance)
    for token in range(count):
        queue.add([(BUFFER_AT, 8)], [], token)
    assert queue.publish() == stepped_over((index + distance) % 65536, index, (index + count) % 65536)


@pytest.mark.parametrize("event_idx", [False, True])
@pytest.mark.parametrize("size", [1, 8, 256])
def test_more_chains_than_an_index_counts(size: int, event_idx: bool) -> None:
    """70,000 chains and one at a time: sleep and wake-up work on both sides of the wrap."""
    wide = GuardedWindow(0x10000)
    places = (size, 0x1000, 0x3000, 0x4000)
    driver = DriverQueue(wide.window, *places, event_idx=event_idx, indirect=False)
    device = DeviceQueue(wide.window, *places, event_idx=event_idx, indirect=False)
    for number in range(70_000):
        assert not device.enable_notifications()
        assert not driver.enable_callbacks()
        driver.add([], [(0x8000, 4)], number)
        assert driver.publish()
        chain = device.pop()
        assert chain is not None
        device.push(chain, chain.write(0, number.to_bytes(4, "little")))
        assert device.publish()
        assert driver.get() == (number, 4)
    assert device.index == 70_000 % 65536
    assert driver.free == size
