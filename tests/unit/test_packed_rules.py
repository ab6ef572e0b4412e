# SPDX-License-Identifier: MIT
"""Packed rings by hand: each rule either side can break, alone, and what event suppression means at every place."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ivshmem_virtio import errors
from ivshmem_virtio.core import DeviceQueue, DriverQueue

from .packed_rig import (
    AT,
    AVAIL,
    BUFFER,
    DESC,
    DEVICE,
    DISABLE,
    DRIVER,
    ENABLE,
    FLAGS,
    INDIRECT,
    NEXT,
    START,
    TABLE,
    USED,
    WRITE,
    PackedRing,
    step,
)
from .split_rig import LENGTH, memory_window

ONE = (BUFFER, 4, 0)


def id_outside(ring: PackedRing) -> None:
    ring.offer(8, ONE)


def list_not_available(ring: PackedRing) -> None:
    ring.descriptor(0, BUFFER, 4, 0, NEXT | AVAIL)


def list_available_in_another_lap(ring: PackedRing) -> None:
    ring.descriptor(1, BUFFER, 4, 0, USED)
    ring.descriptor(0, BUFFER, 4, 0, NEXT | AVAIL)


def list_longer_than_ring(ring: PackedRing) -> None:
    for slot in range(8):
        ring.descriptor(slot, BUFFER, 4, 0, NEXT | AVAIL)


def table_longer_than_queue(ring: PackedRing) -> None:
    for entry in range(9):
        ring.descriptor(entry, BUFFER, 4, 0, 0, table=TABLE)
    ring.offer(0, (TABLE, 16 * 9, INDIRECT))


def buffer_at_end(ring: PackedRing) -> None:
    ring.offer(0, (LENGTH - 4, 5, 0))


def buffer_over_registers(ring: PackedRing) -> None:
    ring.offer(0, (0xFFF, 4, WRITE))


def readable_last(ring: PackedRing) -> None:
    ring.offer(3, (BUFFER, 4, WRITE), ONE)


def readable_last_in_table(ring: PackedRing) -> None:
    ring.descriptor(0, BUFFER, 4, 0, WRITE, table=TABLE)
    ring.descriptor(1, BUFFER, 4, 0, 0, table=TABLE)
    ring.offer(3, (TABLE, 32, INDIRECT))


def indirect_with_next(ring: PackedRing) -> None:
    ring.offer(2, (TABLE, 16, INDIRECT), ONE)


def indirect_at_the_end_of_a_list(ring: PackedRing) -> None:
    ring.offer(2, ONE, (TABLE, 16, INDIRECT))


def table_of_17(ring: PackedRing) -> None:
    ring.offer(0, (TABLE, 17, INDIRECT))


def table_outside(ring: PackedRing) -> None:
    ring.offer(0, (LENGTH - 16, 32, INDIRECT))


cases: list[tuple[Callable[[PackedRing], None], type[errors.RingViolation], str]] = [
    (id_outside, errors.BufferIdOutsideQueue, "buffer id 8 is not below the queue size 8"),
    (list_not_available, errors.ListNotAvailable, "slot 1 continues a list, but its flags 0x0"),
    (list_available_in_another_lap, errors.ListNotAvailable, "slot 1 continues a list, but its flags 0x8000"),
    (list_longer_than_ring, errors.ListNotAvailable, "slot 0 continues a list"),
    (table_longer_than_queue, errors.ChainTooLong, "more than 8 descriptors"),
    (buffer_at_end, errors.BufferOutsideWindow, "5 bytes at offset 0xfffc"),
    (buffer_over_registers, errors.BufferOutsideWindow, "4 bytes at offset 0xfff"),
    (readable_last, errors.ReadableAfterWritable, "the chain at head 3"),
    (readable_last_in_table, errors.ReadableAfterWritable, "the chain at head 3"),
    (indirect_with_next, errors.IndirectInList, "buffer 2 has an indirect descriptor"),
    (indirect_at_the_end_of_a_list, errors.IndirectInList, "buffer 2 has an indirect descriptor"),
    (table_of_17, errors.IndirectTableLength, "17 bytes"),
    (table_outside, errors.IndirectTableOutsideWindow, "32 bytes at offset 0xfff0"),
]


@pytest.mark.parametrize(("broken", "violation", "words"), cases, ids=[case[0].__name__ for case in cases])
def test_rule(broken: Callable[[PackedRing], None], violation: type[errors.RingViolation], words: str) -> None:
    ring = PackedRing()
    queue = ring.device(minimum=0x1000)
    broken(ring)
    with pytest.raises(violation, match=re.escape(words)) as first:
        queue.pop()
    assert "(virtio 1.4, 2." in str(first.value)
    assert "\n" not in str(first.value)
    assert queue.broken
    assert queue.chains == queue.in_flight == 0
    # Nothing the driver does afterwards mends the queue.
    ring.window.zero(DESC, 16 * ring.size)
    for again in (queue.pop, queue.pending, queue.enable_notifications):
        with pytest.raises(violation) as second:
            again()
        assert str(second.value) == str(first.value)
    assert not queue.publish()


def test_indirect_without_the_feature() -> None:
    ring = PackedRing()
    queue = ring.device(indirect=False)
    ring.offer(0, (TABLE, 16, INDIRECT))
    with pytest.raises(errors.IndirectNotNegotiated):
        queue.pop()


def test_only_write_counts_in_a_table() -> None:
    ring = PackedRing()
    queue = ring.device()
    ring.descriptor(0, BUFFER, 4, 77, 0xFFFF & ~WRITE, table=TABLE)
    ring.descriptor(1, BUFFER, 8, 99, 0xFFFF, table=TABLE)
    ring.offer(5, (TABLE, 32, INDIRECT | WRITE))
    chain = queue.pop()
    assert chain is not None
    assert (chain.head, chain.readable, chain.writable) == (5, [(BUFFER, 4)], [(BUFFER, 8)])
    assert chain.table == (TABLE, 32)


def test_only_the_last_buffer_id_of_a_list_counts() -> None:
    ring = PackedRing()
    queue = ring.device()
    ring.offer(5, ONE, ONE)
    ring.window.store16(DESC + 12, 0xFFFF)
    chain = queue.pop()
    assert chain is not None
    assert chain.head == 5


def test_a_buffer_id_made_available_twice() -> None:
    ring = PackedRing()
    queue = ring.device()
    ring.offer(5, ONE)
    ring.offer(5, ONE)
    chain = queue.pop()
    assert chain is not None
    with pytest.raises(errors.BufferIdInFlight, match="buffer id 5"):
        queue.pop()
    # What was taken before can still be given back.
    queue.push(chain, 0)
    queue.publish()
    assert ring.take_back() == [5]


@pytest.mark.parametrize("more", [1, 2])
def test_more_descriptors_than_the_ring_has(more: int) -> None:
    """The driver goes on over slots whose chains the device still holds."""
    ring = PackedRing(4)
    queue = ring.device()
    for number in range(4 if more == 1 else 3):
        ring.offer(number, ONE)
        assert queue.pop() is not None
    ring.offer(3, *[ONE] * more)
    if more == 1:
        with pytest.raises(errors.RingOverrun, match="slot 0 was made available while 4 of 4"):
            queue.pending()
    with pytest.raises(errors.RingOverrun, match="slot 0 was made available while"):
        queue.pop()


def test_a_ring_of_any_size() -> None:
    ring = PackedRing(7)
    driver = ring.driver()
    device = ring.device()
    for number in range(100):
        driver.add([(BUFFER, 8)], [(BUFFER + 64, 8)] * (number % 4), number)
        assert driver.publish()
        chain = device.pop()
        assert chain is not None
        device.push(chain, 0)
        device.publish()
        assert driver.get() == (number, 0)


@pytest.mark.parametrize(
    ("size", "packed"), [(0, True), (32769, True), (7, False), (32769, False)], ids=["0", "large", "split", "both"]
)
def test_a_size_it_cannot_have(size: int, packed: bool) -> None:
    with pytest.raises(errors.RingSizeInvalid, match=f"queue size {size}"):
        DeviceQueue(memory_window(), size, DESC, DRIVER, DEVICE, event_idx=False, indirect=False, packed=packed)


@pytest.mark.parametrize(
    ("desc", "driver", "device"),
    [(DESC + 8, DRIVER, DEVICE), (DESC, DRIVER + 2, DEVICE), (DESC, DRIVER, DEVICE + 2), (DESC, DRIVER, LENGTH),
     (LENGTH - 16, DRIVER, DEVICE), (DESC, 0, DEVICE)],
)  # fmt: skip
def test_a_place_it_cannot_have(desc: int, driver: int, device: int) -> None:
    with pytest.raises(errors.RingAddressInvalid):
        DeviceQueue(
            memory_window(), 8, desc, driver, device, event_idx=False, indirect=False, packed=True, minimum=0x1000
        )


# -- the driver's side -------------------------------------------------------------------------------------------------


@pytest.fixture
def lent() -> tuple[PackedRing, DriverQueue]:
    """Three chains in the device's hands, buffer ids 0, 1, 2; one more is added and not published."""
    ring = PackedRing()
    driver = ring.driver()
    for token in range(3):
        driver.add([], [(BUFFER, 16)], token)
    driver.publish()
    driver.add([], [(BUFFER, 16)], 3)
    ring.slots = {0: 1, 1: 1, 2: 1}
    return ring, driver


@pytest.mark.parametrize(
    ("buffer_id", "length", "violation"),
    [(8, 0, errors.UsedIdOutsideQueue), (0xFFFF, 0, errors.UsedIdOutsideQueue), (5, 0, errors.UsedIdNotInFlight),
     (3, 0, errors.UsedIdNotInFlight), (1, 17, errors.UsedLengthTooLarge)],
    ids=["outside", "far outside", "free", "not published", "length"],
)  # fmt: skip
def test_a_used_descriptor_that_lies(
    lent: tuple[PackedRing, DriverQueue], buffer_id: int, length: int, violation: type[errors.RingViolation]
) -> None:
    ring, driver = lent
    ring.use(buffer_id, length)
    with pytest.raises(violation):
        driver.get()
    assert driver.broken
    with pytest.raises(violation):
        driver.add([(BUFFER, 1)], [], None)


def test_a_buffer_given_back_twice(lent: tuple[PackedRing, DriverQueue]) -> None:
    ring, driver = lent
    for expected in ((2, 16), None):
        ring.use(2, 16)
        ring.taken = step(ring.taken, 1, ring.size)
        if expected:
            assert driver.get() == expected
    with pytest.raises(errors.UsedIdNotInFlight, match="buffer 2, which the device does not hold"):
        driver.get()


def test_a_length_without_write_means_nothing(lent: tuple[PackedRing, DriverQueue]) -> None:
    ring, driver = lent
    ring.use(0, 0xFFFFFFFF)
    ring.window.store16(DESC + FLAGS, AVAIL | USED)
    assert driver.get() == (0, 0)


def test_what_the_device_does_to_descriptors_in_flight_does_not_matter(lent: tuple[PackedRing, DriverQueue]) -> None:
    ring, driver = lent
    driver.publish()
    for slot in range(1, 4):
        ring.window.store16(DESC + 16 * slot + FLAGS, NEXT | INDIRECT | AVAIL)
    for buffer_id in (3, 0, 2, 1):
        ring.use(buffer_id, 0)
        ring.taken = step(ring.taken, 1, ring.size)
        assert driver.get() == (buffer_id, 0)
    assert driver.free == 8


# -- event suppression -------------------------------------------------------------------------------------------------


def stepped_over(event: int, flags: int, start: int, count: int, size: int) -> bool:
    """What the text says, one slot at a time (virtio 1.4, 2.8.10)."""
    if flags != AT:
        return flags == ENABLE
    return event in [step(start, number, size) for number in range(count)]


@pytest.mark.parametrize("lap", [0, 3, 4, 11])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_events_at_every_place(lap: int, count: int) -> None:
    """Both sides, for each slot and wrap counter that the other side may name."""
    size = 5
    for flags in (ENABLE, DISABLE, AT):
        for event in [slot | wrap for slot in range(size) for wrap in (0, 0x8000)]:
            ring = PackedRing(size)
            driver, device = ring.driver(event_idx=True), ring.device(event_idx=True)
            position = START
            for turn in range(lap + 1):
                last = turn == lap
                burst = count if last else 1
                for token in range(burst):
                    driver.add([(BUFFER, 4)], [], token)
                if last:
                    ring.window.store32(DEVICE, event | flags << 16)
                    ring.window.store32(DRIVER, event | flags << 16)
                wanted = driver.publish()
                for _ in range(burst):
                    chain = device.pop()
                    assert chain is not None
                    device.push(chain, 0)
                told = device.publish()
                if last:
                    assert wanted == told == stepped_over(event, flags, position, burst, size), (event, flags, position)
                    break
                assert driver.get() is not None
                position = step(position, 1, size)


@pytest.mark.parametrize("event_idx", [False, True])
def test_what_is_asked_for(event_idx: bool) -> None:
    ring = PackedRing()
    driver, device = ring.driver(event_idx=event_idx), ring.device(event_idx=event_idx)
    assert not device.enable_notifications()
    assert ring.window.load32(DEVICE) == (START | AT << 16 if event_idx else ENABLE << 16)
    device.disable_notifications()
    assert ring.window.load32(DEVICE) == (START | AT << 16 if event_idx else DISABLE << 16)
    driver.disable_callbacks()
    assert ring.window.load32(DRIVER) == DISABLE << 16
    driver.add([(BUFFER, 4)], [], 0)
    driver.publish()
    assert device.enable_notifications()
    chain = device.pop()
    assert chain is not None
    device.push(chain, 0)
    assert not driver.enable_callbacks()
    assert device.publish()
    assert driver.enable_callbacks()
    assert driver.get() == (0, 0)
