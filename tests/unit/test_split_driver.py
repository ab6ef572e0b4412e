# SPDX-License-Identifier: MIT
import struct

import pytest

from ivshmem_virtio import errors
from ivshmem_virtio.core import DriverQueue

from .split_rig import BUFFER, DESC, DEVICE, DRIVER, INDIRECT, LENGTH, NEXT, TABLE, WRITE, RawRing, memory_window


def descriptors(ring: RawRing, count: int, table: int = DESC) -> list[tuple[int, ...]]:
    return [struct.unpack("<QIHH", ring.window.read(table + 16 * index, 16)) for index in range(count)]


def test_a_new_queue_zeroes_its_ring() -> None:
    ring = RawRing()
    ring.window.write(DESC, b"\xff" * 0x3000)
    queue = ring.driver(event_idx=True)
    assert ring.window.read(DESC, 128) == bytes(128)
    assert ring.window.read(DRIVER, 22) == bytes(22)
    assert ring.window.read(DEVICE, 70) == bytes(70)
    assert queue.free == queue.size == 8
    assert queue.get() is None
    assert not queue.publish()


def test_a_direct_chain() -> None:
    ring = RawRing()
    queue = ring.driver()
    queue.add([(BUFFER, 3), (BUFFER + 8, 4)], [(BUFFER + 16, 5)], "token")
    assert descriptors(ring, 3) == [
        (BUFFER, 3, NEXT, 1), (BUFFER + 8, 4, NEXT, 2), (BUFFER + 16, 5, WRITE, 0),
    ]  # fmt: skip
    assert queue.free == 5
    assert ring.window.load16(DRIVER + 2) == 0
    assert queue.publish()
    assert ring.window.load16(DRIVER + 2) == 1
    assert ring.window.load16(DRIVER + 4) == 0
    ring.use(0, 0, 5)
    assert queue.get() is None
    ring.window.store16(DEVICE + 2, 1)
    assert queue.get() == ("token", 5)
    assert queue.get() is None
    assert queue.free == 8
    assert (queue.chains, queue.bytes) == (1, 5)


def test_an_indirect_chain() -> None:
    ring = RawRing()
    queue = ring.driver()
    queue.add([(BUFFER, 3)], [(BUFFER + 16, 5), (BUFFER + 32, 1)], None, table=TABLE)
    assert descriptors(ring, 1) == [(TABLE, 48, INDIRECT, 0)]
    assert descriptors(ring, 3, TABLE) == [
        (BUFFER, 3, NEXT, 1), (BUFFER + 16, 5, WRITE | NEXT, 2), (BUFFER + 32, 1, WRITE, 0),
    ]  # fmt: skip
    assert queue.free == 7


def test_full_and_free_again() -> None:
    ring = RawRing()
    queue = ring.driver()
    for token in range(4):
        queue.add([(BUFFER, 1), (BUFFER, 1)], [], token)
    with pytest.raises(errors.RingFull, match="1 segments do not fit the 0 free descriptors of 8"):
        queue.add([(BUFFER, 1)], [], "no room")
    with pytest.raises(errors.RingFull):
        queue.add([(BUFFER, 1)], [], "no room", table=TABLE)
    queue.publish()
    for position, head in enumerate((4, 0)):
        ring.use(position, head, 0)
    ring.window.store16(DEVICE + 2, 2)
    assert [queue.get(), queue.get()] == [(2, 0), (0, 0)]
    assert queue.free == 4
    queue.add([(BUFFER, 1)] * 4, [], "scattered")
    assert queue.free == 0
    head = ring.window.load16(DRIVER + 4 + 2 * 4)
    seen = []
    while True:
        address, _, flags, following = descriptors(ring, 8)[head]
        seen.append(head)
        assert address == BUFFER
        if not flags & NEXT:
            break
        head = following
    assert sorted(seen) == [0, 1, 4, 5]


def test_tokens_are_let_go() -> None:
    ring = RawRing()
    queue = ring.driver()
    token = ["only the queue holds me"]
    queue.add([(BUFFER, 1)], [], token)
    queue.publish()
    ring.window.store16(DEVICE + 2, 1)
    got = queue.get()
    assert got is not None
    assert got[0] is token


@pytest.mark.parametrize(
    ("readable", "writable", "table", "error", "words"),
    [
        ([], [], None, ValueError, "at least one segment"),
        ([(BUFFER, 0)], [], None, ValueError, "at least one byte"),
        ([(BUFFER, 1)] * 9, [], TABLE, ValueError, "9 segments are more than the queue size 8"),
        ([(LENGTH, 1)], [], None, errors.OutsideWindow, "1 bytes at offset 0x10000"),
        ([], [(LENGTH - 1, 2)], None, errors.OutsideWindow, "2 bytes at offset 0xffff"),
        ([(BUFFER, 1)], [], LENGTH - 8, errors.OutsideWindow, "16 bytes at offset 0xfff8"),
        ([(BUFFER, 1 << 32)], [], None, OverflowError, "too large"),
    ],
)
def test_chains_that_are_refused(
    readable: list[tuple[int, int]],
    writable: list[tuple[int, int]],
    table: int | None,
    error: type[Exception],
    words: str,
) -> None:
    queue = RawRing().driver()
    with pytest.raises(error, match=words):
        queue.add(readable, writable, None, table)
    assert queue.free == 8
    assert not queue.publish()


def test_a_table_needs_the_feature() -> None:
    queue = RawRing().driver(indirect=False)
    with pytest.raises(ValueError, match="VIRTIO_F_INDIRECT_DESC"):
        queue.add([(BUFFER, 1)], [], None, table=TABLE)


def test_a_chain_of_more_than_four_gigabytes() -> None:
    queue = RawRing(length=3 << 30).driver()
    queue.add([(0, 2 << 30)], [(0, 2 << 30)], "just")
    with pytest.raises(ValueError, match="4294967297 bytes"):
        queue.add([(0, 2 << 30)], [(0, (2 << 30) + 1)], "over")


@pytest.mark.parametrize(
    ("index", "head", "length", "violation", "words"),
    [
        (2, 0, 0, errors.UsedIndexJump, "used index 2 claims more than the 1 chains"),
        (0xFFFF, 0, 0, errors.UsedIndexJump, "used index 65535"),
        (1, 8, 0, errors.UsedIdOutsideQueue, "descriptor 8 of a queue of 8"),
        (1, 1 << 16, 0, errors.UsedIdOutsideQueue, "descriptor 65536"),
        (1, 1, 0, errors.UsedIdNotInFlight, "descriptor 1, which heads no chain"),
        (1, 2, 0, errors.UsedIdNotInFlight, "descriptor 2, which heads no chain"),
        (1, 7, 0, errors.UsedIdNotInFlight, "descriptor 7"),
        (1, 0, 5, errors.UsedLengthTooLarge, "5 bytes written to a chain with 4 writable"),
    ],
)
def test_what_a_device_may_not_claim(
    index: int, head: int, length: int, violation: type[errors.RingViolation], words: str
) -> None:
    ring = RawRing()
    queue = ring.driver()
    queue.add([(BUFFER, 4)], [(BUFFER, 4)], "published: head 0")
    queue.publish()
    queue.add([(BUFFER, 4)], [], "not yet published: head 2")
    ring.use(0, head, length)
    ring.window.store16(DEVICE + 2, index)
    with pytest.raises(violation, match=words) as first:
        queue.get()
    assert "(virtio 1.4, 2.7.8" in str(first.value)
    assert queue.broken
    ring.use(0, 0, 0)
    ring.window.store16(DEVICE + 2, 1)
    with pytest.raises(violation):
        queue.get()
    with pytest.raises(violation):
        queue.add([(BUFFER, 4)], [], None)


def test_one_chain_cannot_come_back_twice() -> None:
    ring = RawRing()
    queue = ring.driver()
    for token in range(2):
        queue.add([(BUFFER, 4)], [], token)
    queue.publish()
    ring.use(0, 1, 0)
    ring.use(1, 1, 0)
    ring.window.store16(DEVICE + 2, 2)
    assert queue.get() == (1, 0)
    with pytest.raises(errors.UsedIdNotInFlight):
        queue.get()


def test_flags_decide_without_the_event_index() -> None:
    ring = RawRing()
    queue = ring.driver()
    ring.window.store16(DEVICE, 1)
    queue.add([(BUFFER, 4)], [], 0)
    assert not queue.publish()
    ring.window.store16(DEVICE, 0)
    queue.add([(BUFFER, 4)], [], 1)
    assert queue.publish()
    assert (queue.notifications_wanted, queue.notifications_suppressed) == (1, 1)
    queue.disable_callbacks()
    assert ring.window.load16(DRIVER) == 1
    assert not queue.enable_callbacks()
    assert ring.window.load16(DRIVER) == 0
    ring.window.store16(DEVICE + 2, 1)
    assert queue.enable_callbacks()


def test_used_event_moves_along_while_callbacks_are_on() -> None:
    ring = RawRing()
    queue = ring.driver(event_idx=True, index=65535)
    used_event = DRIVER + 4 + 2 * 8
    assert ring.window.load16(used_event) == 65535
    queue.add([(BUFFER, 4)], [], 0)
    queue.add([(BUFFER, 4)], [], 1)
    queue.publish()
    ring.use(65535, 0, 0)
    ring.use(0, 1, 0)
    ring.window.store16(DEVICE + 2, 0)
    assert queue.get() == (0, 0)
    assert ring.window.load16(used_event) == 0
    queue.disable_callbacks()
    assert ring.window.load16(used_event) == 65535
    ring.window.store16(DEVICE + 2, 1)
    assert queue.get() == (1, 0)
    assert ring.window.load16(used_event) == 65535
    assert not queue.enable_callbacks()
    assert ring.window.load16(used_event) == 1
    assert ring.window.load16(DRIVER) == 0


def test_addresses_and_sizes_are_checked_like_the_devices() -> None:
    with pytest.raises(errors.RingSizeInvalid):
        DriverQueue(memory_window(), 12, DESC, DRIVER, DEVICE, event_idx=False, indirect=False)
    with pytest.raises(errors.RingAddressInvalid):
        DriverQueue(memory_window(), 8, DESC, DRIVER, LENGTH, event_idx=False, indirect=False)
    with pytest.raises(ValueError, match="16 bits"):
        DriverQueue(memory_window(), 8, DESC, DRIVER, DEVICE, event_idx=False, indirect=False, index=-1)


def test_a_closed_window_ends_everything() -> None:
    ring = RawRing()
    queue = ring.driver()
    ring.window.close()
    for use in (
        queue.get,
        queue.publish,
        queue.enable_callbacks,
        queue.disable_callbacks,
        lambda: queue.add([(BUFFER, 4)], [], None),
    ):
        with pytest.raises(ValueError, match="the window is closed"):
            use()
