# SPDX-License-Identifier: MIT
"""Each rule a driver can break, alone, with the words the operator will read."""

import re
from collections.abc import Callable

import pytest

from ivshmem_virtio import errors

from .split_rig import BUFFER, DRIVER, INDIRECT, LENGTH, NEXT, TABLE, WRITE, RawRing


def index_jump(ring: RawRing) -> None:
    ring.window.store16(DRIVER + 2, 9)


def index_back(ring: RawRing) -> None:
    ring.window.store16(DRIVER + 2, 0xFFFF)


def head_outside(ring: RawRing) -> None:
    ring.make_available(8)


def next_outside(ring: RawRing) -> None:
    ring.descriptor(0, BUFFER, 4, NEXT, 8)
    ring.make_available(0)


def next_outside_table(ring: RawRing) -> None:
    ring.descriptor(0, TABLE, 32, INDIRECT)
    ring.descriptor(0, BUFFER, 4, NEXT, 2, table=TABLE)
    ring.make_available(0)


def loop(ring: RawRing) -> None:
    ring.descriptor(0, BUFFER, 4, NEXT, 1)
    ring.descriptor(1, BUFFER, 4, NEXT, 0)
    ring.make_available(0)


def loop_of_nothing(ring: RawRing) -> None:
    ring.descriptor(3, BUFFER, 0, NEXT, 3)
    ring.make_available(3)


def table_longer_than_queue(ring: RawRing) -> None:
    ring.descriptor(0, TABLE, 16 * 9, INDIRECT)
    for entry in range(9):
        ring.descriptor(entry, BUFFER, 4, NEXT if entry < 8 else 0, entry + 1, table=TABLE)
    ring.make_available(0)


def direct_and_table_longer_than_queue(ring: RawRing) -> None:
    ring.descriptor(0, BUFFER, 4, NEXT, 1)
    ring.descriptor(1, TABLE, 16 * 8, INDIRECT)
    for entry in range(8):
        ring.descriptor(entry, BUFFER, 4, NEXT if entry < 7 else 0, entry + 1, table=TABLE)
    ring.make_available(0)


def buffer_at_end(ring: RawRing) -> None:
    ring.descriptor(0, LENGTH - 4, 5)
    ring.make_available(0)


def buffer_overflow(ring: RawRing) -> None:
    ring.descriptor(0, (1 << 64) - 4, 8)
    ring.make_available(0)


def buffer_over_registers(ring: RawRing) -> None:
    ring.descriptor(0, 0xFFF, 4, WRITE)
    ring.make_available(0)


def readable_last(ring: RawRing) -> None:
    ring.descriptor(0, BUFFER, 4, WRITE | NEXT, 1)
    ring.descriptor(1, BUFFER, 4)
    ring.make_available(0)


def indirect_with_next(ring: RawRing) -> None:
    ring.descriptor(0, TABLE, 16, INDIRECT | NEXT, 1)
    ring.make_available(0)


def nested(ring: RawRing) -> None:
    ring.descriptor(0, TABLE, 16, INDIRECT)
    ring.descriptor(0, TABLE, 16, INDIRECT, table=TABLE)
    ring.make_available(0)


def table_of_nothing(ring: RawRing) -> None:
    ring.descriptor(0, TABLE, 0, INDIRECT)
    ring.make_available(0)


def table_of_17(ring: RawRing) -> None:
    ring.descriptor(0, TABLE, 17, INDIRECT)
    ring.make_available(0)


def table_outside(ring: RawRing) -> None:
    ring.descriptor(0, LENGTH - 16, 32, INDIRECT)
    ring.make_available(0)


def table_over_registers(ring: RawRing) -> None:
    ring.descriptor(0, 0x800, 16, INDIRECT)
    ring.make_available(0)


cases: list[tuple[Callable[[RawRing], None], type[errors.RingViolation], str]] = [
    (index_jump, errors.AvailableIndexJump, "available index 9 is 9 entries ahead in a ring of 8"),
    (index_back, errors.AvailableIndexJump, "available index 65535 is 65535 entries ahead"),
    (head_outside, errors.HeadOutsideQueue, "descriptor 8 of a queue of 8"),
    (next_outside, errors.NextOutsideTable, "next is 8 in a descriptor table of 8"),
    (next_outside_table, errors.NextOutsideTable, "next is 2 in a descriptor table of 2"),
    (loop, errors.ChainTooLong, "the chain at head 0 loops or has more than 8 descriptors"),
    (loop_of_nothing, errors.ChainTooLong, "the chain at head 3 loops"),
    (table_longer_than_queue, errors.ChainTooLong, "more than 8 descriptors"),
    (direct_and_table_longer_than_queue, errors.ChainTooLong, "more than 8 descriptors"),
    (buffer_at_end, errors.BufferOutsideWindow, "5 bytes at offset 0xfffc"),
    (buffer_overflow, errors.BufferOutsideWindow, "8 bytes at offset 0xfffffffffffffffc"),
    (buffer_over_registers, errors.BufferOutsideWindow, "4 bytes at offset 0xfff"),
    (readable_last, errors.ReadableAfterWritable, "the chain at head 0"),
    (indirect_with_next, errors.IndirectWithNext, "flags 0x5"),
    (nested, errors.IndirectNested, "entry 0 of an indirect table"),
    (table_of_nothing, errors.IndirectTableLength, "0 bytes"),
    (table_of_17, errors.IndirectTableLength, "17 bytes"),
    (table_outside, errors.IndirectTableOutsideWindow, "32 bytes at offset 0xfff0"),
    (table_over_registers, errors.IndirectTableOutsideWindow, "16 bytes at offset 0x800"),
]


@pytest.mark.parametrize(("broken", "violation", "words"), cases, ids=[case[0].__name__ for case in cases])
def test_rule(broken: Callable[[RawRing], None], violation: type[errors.RingViolation], words: str) -> None:
    ring = RawRing()
    queue = ring.device(minimum=0x1000)
    broken(ring)
    with pytest.raises(violation, match=re.escape(words)) as first:
        queue.pop()
    assert "(virtio 1.4, 2.7." in str(first.value)
    assert "\n" not in str(first.value)
    assert queue.broken
    assert queue.chains == queue.in_flight == 0
    # Nothing the driver does afterwards mends the queue.
    ring.window.store16(DRIVER + 2, 0)
    for again in (queue.pop, queue.pending, queue.enable_notifications):
        with pytest.raises(violation) as second:
            again()
        assert str(second.value) == str(first.value)
    assert not queue.publish()
    assert ring.used_index == 0


def test_indirect_without_the_feature() -> None:
    ring = RawRing()
    queue = ring.device(indirect=False)
    ring.descriptor(0, TABLE, 16, INDIRECT)
    ring.make_available(0)
    with pytest.raises(errors.IndirectNotNegotiated, match="without VIRTIO_F_INDIRECT_DESC"):
        queue.pop()


def test_a_chain_made_available_twice() -> None:
    ring = RawRing()
    queue = ring.device()
    ring.descriptor(5, BUFFER, 4)
    ring.make_available(5, 5)
    chain = queue.pop()
    assert chain is not None
    with pytest.raises(errors.HeadInFlight, match="descriptor 5"):
        queue.pop()
    # What was taken before can still be given back.
    queue.push(chain, 0)
    queue.publish()
    assert ring.used_index == 1


def test_more_than_four_gigabytes() -> None:
    ring = RawRing(length=3 << 30)
    queue = ring.device()
    ring.descriptor(0, BUFFER, 2 << 30, NEXT, 1)
    ring.descriptor(1, BUFFER, 2 << 30, WRITE)
    ring.descriptor(2, BUFFER, 2 << 30, NEXT, 3)
    ring.descriptor(3, BUFFER, (2 << 30) + 1, WRITE)
    ring.make_available(0, 2)
    chain = queue.pop()
    assert chain is not None
    assert chain.readable_length + chain.writable_length == 1 << 32
    with pytest.raises(errors.ChainTooLarge, match="4294967297 bytes"):
        queue.pop()


def test_pending_finds_the_jump_too() -> None:
    ring = RawRing()
    queue = ring.device()
    index_jump(ring)
    with pytest.raises(errors.AvailableIndexJump):
        queue.pending()
    assert queue.broken
