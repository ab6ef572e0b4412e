# SPDX-License-Identifier: MIT
"""A packed device side that is killed, at any instant, and its successor: every chain comes back exactly once."""

from __future__ import annotations

import pytest

from ivshmem_virtio.core import DeviceQueue
from ivshmem_virtio.errors import BufferIdInFlight, BufferOutsideWindow, KeptChainDamaged, UsedPositionChanged
from ivshmem_virtio.transport.kept_layout import (
    IN_FLIGHT_RECORD_SIZE,
    QUEUE_RECORD_SIZE,
    InFlightRecord,
    QueueRecord,
)

from .kept_record import RECORD, chains, heads, pop
from .packed_rig import AVAIL, BUFFER, DESC, FLAGS, INDIRECT, NEXT, START, TABLE, USED, WRITE, KeptRing
from .single_step import every_instant

ONE = (BUFFER, 16, WRITE)
OUT, IN = (BUFFER + 0x40, 8, 0), (BUFFER + 0x80, 24, WRITE)


def test_what_is_in_flight_comes_again_in_its_order_before_what_is_new() -> None:
    rig = KeptRing()
    first = rig.device_side(resume=False)
    for number in (5, 2, 7, 0):
        rig.offer(number, ONE)
    five, _two, seven = pop(first), pop(first), pop(first)
    first.push(seven, 3)
    first.publish()
    assert rig.take_back() == [7]
    first.push(five, 1)  # not published: as if it had never been served
    rig.offer(7, ONE)
    second = rig.device_side(resume=True)
    assert second.index == START + 1
    assert second.pending() == 3, "two that were taken, and one of those in the ring"
    found = chains(second)
    assert [(chain.head, chain.again) for chain in found] == [(5, True), (2, True), (0, False), (7, False)]
    assert [chain.sequence for chain in found] == [1, 2, 4, 5]


def test_a_batch_that_was_shown_and_not_yet_recorded() -> None:
    """Killed between the flags of its first slot and the position: what was published is not served again."""
    rig = KeptRing()
    first = rig.device_side(resume=False)
    for number in (1, 3, 4):
        rig.offer(number, ONE)
    _one, three, _four = pop(first), pop(first), pop(first)
    before = rig.kept.read(RECORD, rig.record_length)
    first.push(three, 0)
    first.publish()
    rig.kept.write(RECORD, before)
    rig.kept.store16(RECORD + QueueRecord.COMMIT_OLD, START)
    rig.kept.store32(RECORD + QueueRecord.COMMIT_COUNT, 1)
    rig.kept.store32(RECORD + QUEUE_RECORD_SIZE + 3 * IN_FLIGHT_RECORD_SIZE + InFlightRecord.COMMITTED, 1)
    second = rig.device_side(resume=True)
    assert heads(second) == [1, 4]
    assert rig.take_back() == [3]
    assert rig.record(QueueRecord.USED_POSITION, 2) == START + 1


def test_a_used_descriptor_over_a_list_that_is_in_flight() -> None:
    rig = KeptRing(4)
    first = rig.device_side(resume=False)
    rig.offer(0, OUT, IN)
    rig.offer(1, OUT, IN)
    zero, one = pop(first), pop(first)
    first.push(one, 2)
    first.publish()
    assert rig.take_back() == [1]
    rig.offer(2, ONE, ONE)  # over the descriptors of 0
    assert (zero.readable, zero.writable) == ([(OUT[0], 8)], [(IN[0], 24)])
    again, new = chains(rig.device_side(resume=True))
    assert (again.head, again.readable, again.writable) == (0, zero.readable, zero.writable)
    assert (new.head, new.writable) == (2, [(BUFFER, 16), (BUFFER, 16)])


def test_the_record_is_what_the_document_says() -> None:
    rig = KeptRing()
    queue = rig.device_side(resume=False)
    rig.offer(6, OUT, IN)
    rig.descriptor(0, BUFFER, 8, 0, 0, table=TABLE)
    rig.offer(1, (TABLE, 16, INDIRECT))
    six, one = pop(queue), pop(queue)
    assert rig.in_flight(6, InFlightRecord.CHAIN_SEQUENCE, 8) == 1
    assert rig.in_flight(6, InFlightRecord.CHAIN_ID, 2) == 6
    assert rig.in_flight(6, InFlightRecord.CHAIN_DESCRIPTORS, 2) == 2
    assert rig.in_flight(1, InFlightRecord.TABLE_LENGTH, 4) == 16
    assert rig.in_flight(1, InFlightRecord.TABLE_OFFSET, 8) == TABLE
    first = rig.in_flight(6, InFlightRecord.FIRST_COPY, 2)
    address, length, flags, following = rig.copy(first)
    assert (address, length, flags) == (OUT[0], 8, NEXT)
    assert rig.copy(following)[:3] == IN
    assert rig.copy(rig.in_flight(1, InFlightRecord.FIRST_COPY, 2))[:3] == (TABLE, 16, INDIRECT)
    queue.push(one, 0)
    queue.push(six, 0)
    queue.publish()
    assert rig.record(QueueRecord.COMMIT_OLD, 2) == START
    assert rig.record(QueueRecord.USED_POSITION, 2) == START + 3
    assert rig.record(QueueRecord.COMMIT_COUNT) == rig.record(QueueRecord.IN_FLIGHT_COUNT) == 0


def test_copies_are_used_again_and_again() -> None:
    rig = KeptRing(4)
    queue = rig.device_side(resume=False)
    held = []
    for number in range(200):
        rig.offer(number % 3, OUT, IN) if number % 2 else rig.offer(number % 3, ONE)
        held.append(pop(queue))
        if len(held) == 2:
            queue.push(held.pop(number // 2 % 2), 0)
            queue.publish()
            queue.push(held.pop(), 0)
            queue.publish()
            assert len(rig.take_back()) == 2
    assert queue.in_flight == 0


@pytest.mark.parametrize("flags", [AVAIL | USED, USED])
def test_a_slot_that_somebody_marked_used(flags: int) -> None:
    rig = KeptRing()
    pop_all = rig.device_side(resume=False)
    rig.offer(3, ONE)
    heads(pop_all)
    rig.window.store16(DESC + FLAGS, flags)
    with pytest.raises(UsedPositionChanged, match="used position 0x8000"):
        rig.device_side(resume=True)


def test_a_slot_marked_used_with_nothing_in_flight() -> None:
    rig = KeptRing()
    rig.device_side(resume=False)
    rig.window.store16(DESC + FLAGS, AVAIL | USED)
    with pytest.raises(UsedPositionChanged):
        rig.device_side(resume=True)


def test_a_kept_position_that_is_not_in_the_ring() -> None:
    rig = KeptRing()
    rig.device_side(resume=False)
    rig.kept.store16(RECORD + QueueRecord.USED_POSITION, START + 8)
    with pytest.raises(UsedPositionChanged, match="0x8008"):
        rig.device_side(resume=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [(InFlightRecord.CHAIN_DESCRIPTORS, 0), (InFlightRecord.CHAIN_DESCRIPTORS, 9), (InFlightRecord.FIRST_COPY, 8),
     (InFlightRecord.CHAIN_DESCRIPTORS, 1), (InFlightRecord.FIRST_COPY, 7)],
)  # fmt: skip
def test_a_kept_chain_that_contradicts_itself(field: InFlightRecord, value: int) -> None:
    rig = KeptRing()
    queue = rig.device_side(resume=False)
    rig.offer(2, OUT, IN)
    pop(queue)
    rig.kept.store16(RECORD + 0x80 + 32 * 2 + field, value)
    with pytest.raises(KeptChainDamaged, match="buffer 2"):
        rig.device_side(resume=True)


def test_what_is_redone_is_checked_again() -> None:
    rig = KeptRing()
    queue = rig.device_side(resume=False)
    rig.descriptor(0, BUFFER, 8, 0, 0, table=TABLE)
    rig.offer(0, (TABLE, 16, INDIRECT))
    heads(queue)
    rig.descriptor(0, rig.window.length, 8, 0, 0, table=TABLE)
    with pytest.raises(BufferOutsideWindow):
        rig.device_side(resume=True).pop()


def test_a_chain_pushed_but_not_published_is_not_yet_the_drivers() -> None:
    rig = KeptRing()
    queue = rig.device_side(resume=False)
    rig.offer(4, ONE)
    queue.push(pop(queue), 0)
    rig.offer(4, ONE)
    with pytest.raises(BufferIdInFlight):
        queue.pop()


def test_a_queue_enabled_anew_forgets_what_was_in_flight() -> None:
    rig = KeptRing()
    queue = rig.device_side(resume=False)
    rig.offer(0, ONE)
    heads(queue)
    rig.window.zero(DESC, 16 * rig.size)
    assert rig.device_side(resume=False).pop() is None
    assert rig.device_side(resume=True).pop() is None


def test_behind_what_a_stand_in_has_answered() -> None:
    rig = KeptRing(4)
    queue = rig.device_side(resume=False)
    rig.offer(0, OUT, IN)
    rig.offer(1, ONE)
    pop(queue)
    for number in (0, 1):
        rig.use(number, 0)
        assert rig.take_back() == [number]
    rig.offer(2, OUT, IN)
    successor = rig.device_side(resume=True, answered_at=START + 3)
    assert successor.index == START + 3
    assert heads(successor) == [2]


# -- killed at every instant -------------------------------------------------------------------------------------------

LISTS = {6: (ONE,), 1: (OUT, IN), 3: (ONE,), 0: (OUT, OUT, IN), 7: (ONE,)}


def worn_rig(chains_before: int) -> tuple[KeptRing, DeviceQueue]:
    """A ring of 10 that has done some chains of one descriptor, so that a lap ends in the middle of what follows."""
    rig = KeptRing(10)
    queue = rig.device_side(resume=False)
    for _ in range(chains_before):
        rig.offer(2, ONE)
        queue.push(pop(queue), 0)
        queue.publish()
        assert rig.take_back() == [2]
    return rig, queue


def assert_each_once(rig: KeptRing, order: list[int]) -> None:
    """The driver finds what is done, the successor everything else; given back one by one it comes back one by one."""
    start = rig.taken
    done = rig.take_back()
    assert len(set(done)) == len(done)
    queue = rig.device_side(resume=True)
    again = chains(queue)
    assert [chain.head for chain in again] == [number for number in order if number not in done]
    for chain in again:
        elements = LISTS[chain.head]
        assert chain.readable + chain.writable == [(address, length) for address, length, _ in elements]
    assert rig.take_back() == []
    for chain in reversed(again):
        queue.push(chain, 0)
        assert rig.take_back() == []
        queue.publish()
        assert rig.take_back() == [chain.head]
    rig.taken = start


@pytest.mark.parametrize("before", [0, 7])
def test_killed_at_every_instant(before: int) -> None:
    rig, queue = worn_rig(before)
    for number, elements in LISTS.items():
        rig.offer(number, *elements)

    def serve() -> None:
        six, one, three = pop(queue), pop(queue), pop(queue)
        queue.push(one, 1)
        queue.push(six, 2)
        queue.publish()
        zero = pop(queue)
        queue.push(zero, 3)
        queue.push(three, 4)
        queue.publish()

    instants = every_instant(serve, rig.memory)
    assert len(instants) > 50
    for memory in instants:
        rig.put_back(memory)
        assert_each_once(rig, list(LISTS))


def test_killed_at_every_instant_of_coming_back() -> None:
    """The second process publishes another batch than the first one did, so nothing of that may be left over."""
    rig, queue = worn_rig(7)
    order = list(LISTS)[:3]
    for number in order:
        rig.offer(number, *LISTS[number])
    held = chains(queue)

    def publish() -> None:
        queue.push(held[1], 0)
        queue.push(held[0], 0)
        queue.publish()

    def come_back() -> None:
        successor = rig.device_side(resume=True)
        successor.push(chains(successor)[-1], 0)
        successor.publish()

    for memory in every_instant(publish, rig.memory)[::3]:
        rig.put_back(memory)
        for later in every_instant(come_back, rig.memory):
            rig.put_back(later)
            assert_each_once(rig, order)
