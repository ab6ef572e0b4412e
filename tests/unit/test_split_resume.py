# SPDX-License-Identifier: MIT
"""A device side that is killed, at any instant, and its successor: every chain comes back exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ivshmem_virtio.core import DeviceQueue
from ivshmem_virtio.errors import AvailableIndexJump, BufferOutsideWindow, HeadInFlight, RingTaken, UsedIndexChanged
from ivshmem_virtio.transport.kept_layout import (
    IN_FLIGHT_RECORD_SIZE,
    QUEUE_RECORD_SIZE,
    InFlightRecord,
    QueueRecord,
)

from .kept_record import RECORD, chains, heads, pop
from .single_step import every_instant
from .split_rig import BUFFER, DESC, DEVICE, DRIVER, INDIRECT, TABLE, WRITE, KeptRing

SIZE = 8


class Rig(KeptRing):
    """One buffer behind each descriptor."""

    def __init__(self) -> None:
        super().__init__(SIZE)
        for head in range(SIZE):
            self.descriptor(head, BUFFER + 16 * head, 16, WRITE)


def test_what_is_in_flight_comes_again_in_its_order_before_what_is_new() -> None:
    rig = Rig()
    first = rig.device_side(resume=False)
    rig.make_available(5, 2, 7, 0)
    five, _two, seven = pop(first), pop(first), pop(first)
    first.push(seven, 3)
    first.publish()
    first.push(five, 1)  # not published: as if it had never been served
    rig.make_available(7)
    second = rig.device_side(resume=True)
    assert second.index == 1
    assert second.pending() == 4
    assert heads(second) == [5, 2, 0, 7]
    assert second.in_flight == 4


def test_a_batch_that_was_shown_and_not_yet_recorded() -> None:
    """Killed between the used index and the position: what was published is not served again."""
    rig = Rig()
    first = rig.device_side(resume=False)
    rig.make_available(1, 3, 4)
    _one, three, _four = pop(first), pop(first), pop(first)
    before = rig.kept.read(RECORD, rig.record_length)
    first.push(three, 0)
    first.publish()
    rig.kept.write(RECORD, before)
    rig.kept.store16(RECORD + QueueRecord.COMMIT_OLD, 0)
    rig.kept.store32(RECORD + QueueRecord.COMMIT_COUNT, 1)
    rig.kept.store32(RECORD + QUEUE_RECORD_SIZE + 3 * IN_FLIGHT_RECORD_SIZE + InFlightRecord.COMMITTED, 1)
    second = rig.device_side(resume=True)
    assert heads(second) == [1, 4]
    assert rig.came_back() == [3]
    assert rig.record(QueueRecord.USED_POSITION, 2) == 1


def test_a_resumed_queue_can_be_resumed_again() -> None:
    rig = Rig()
    first = rig.device_side(resume=False)
    rig.make_available(3, 1, 4)
    heads(first)
    second = rig.device_side(resume=True)
    second.push(pop(second), 0)
    second.publish()
    assert rig.came_back() == [3]
    third = rig.device_side(resume=True)
    assert heads(third) == [1, 4]


def test_the_record_is_what_the_document_says() -> None:
    rig = Rig()
    queue = rig.device_side(resume=False)
    rig.descriptor(6, TABLE, 32, INDIRECT)
    rig.descriptor(0, BUFFER, 8, 1, 1, table=TABLE)
    rig.descriptor(1, BUFFER + 8, 8, WRITE, table=TABLE)
    rig.make_available(1, 6)
    one, six = pop(queue), pop(queue)
    assert rig.in_flight(6, InFlightRecord.CHAIN_SEQUENCE, 8) == 2
    assert rig.in_flight(6, InFlightRecord.CHAIN_ID, 2) == 6
    assert rig.in_flight(6, InFlightRecord.CHAIN_DESCRIPTORS, 2) == 1
    assert rig.in_flight(6, InFlightRecord.TABLE_LENGTH, 4) == 32
    assert rig.in_flight(6, InFlightRecord.TABLE_OFFSET, 8) == TABLE
    assert rig.record(QueueRecord.NEXT_SEQUENCE, 8) == 3
    assert rig.record(QueueRecord.IN_FLIGHT_COUNT) == 2
    queue.push(six, 0)
    queue.publish()
    assert rig.in_flight(6, InFlightRecord.CHAIN_SEQUENCE, 8) == 0
    assert rig.record(QueueRecord.USED_POSITION, 2) == 1
    assert rig.record(QueueRecord.COMMIT_COUNT) == 0
    assert rig.record(QueueRecord.IN_FLIGHT_COUNT) == 1
    queue.push(one, 0)
    queue.publish()
    assert rig.record(QueueRecord.COMMIT_OLD, 2) == 1


@pytest.mark.parametrize("index", [0, 2, 3, 0xFFFF])
def test_a_used_index_that_somebody_changed(index: int) -> None:
    rig = Rig()
    queue = rig.device_side(resume=False)
    rig.make_available(0, 1)
    queue.push(pop(queue), 0)
    queue.publish()
    rig.window.store16(DEVICE + 2, index)
    with pytest.raises(UsedIndexChanged, match=f"used index is {index}"):
        rig.device_side(resume=True)


def test_what_is_redone_is_checked_again() -> None:
    rig = Rig()
    queue = rig.device_side(resume=False)
    rig.make_available(0)
    heads(queue)
    rig.descriptor(0, rig.window.length, 16, WRITE)
    with pytest.raises(BufferOutsideWindow):
        rig.device_side(resume=True).pop()


def test_an_available_index_that_went_back_meanwhile() -> None:
    rig = Rig()
    queue = rig.device_side(resume=False)
    rig.make_available(0, 1)
    heads(queue)
    rig.window.store16(DRIVER + 2, 1)
    successor = rig.device_side(resume=True)
    with pytest.raises(AvailableIndexJump):
        heads(successor)


def test_a_chain_pushed_but_not_published_is_not_yet_the_drivers() -> None:
    rig = Rig()
    queue = rig.device_side(resume=False)
    rig.make_available(4)
    queue.push(pop(queue), 0)
    rig.make_available(4)
    with pytest.raises(HeadInFlight):
        queue.pop()


def test_a_queue_enabled_anew_forgets_what_was_in_flight() -> None:
    rig = Rig()
    queue = rig.device_side(resume=False)
    rig.make_available(0, 1)
    heads(queue)
    rig.added = 0
    rig.make_available()
    again = rig.device_side(resume=False)
    assert again.pop() is None
    assert rig.device_side(resume=True).pop() is None


def test_killed_at_every_instant() -> None:
    """Whatever the used ring shows is done, all else comes again: nothing twice, nothing never."""
    rig = Rig()
    queue = rig.device_side(resume=False)
    order = [6, 1, 3, 0, 7]
    rig.make_available(*order)

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
    assert len(instants) > 40
    for memory in instants:
        rig.put_back(memory)
        assert_each_once(rig, order)


def assert_each_once(rig: Rig, order: list[int]) -> None:
    done = rig.came_back()
    again = heads(rig.device_side(resume=True))
    assert again == [head for head in order if head not in done]


ORDER = [6, 1, 3, 0]


def about_to_publish(rig: Rig, queue: DeviceQueue) -> Callable[[], None]:
    """What gives back two of the three chains that were taken from among ORDER, the later one first."""
    rig.make_available(*ORDER)
    held = [pop(queue) for _ in range(3)]

    def publish() -> None:
        queue.push(held[1], 0)
        queue.push(held[0], 0)
        queue.publish()

    return publish


def test_killed_at_every_instant_of_coming_back() -> None:
    """The second process publishes another batch than the first one did, so nothing of that may be left over."""
    rig = Rig()
    publish = about_to_publish(rig, rig.device_side(resume=False))
    for memory in every_instant(publish, rig.memory):
        rig.put_back(memory)
        for later in every_instant(lambda: come_back(rig), rig.memory):
            rig.put_back(later)
            assert_each_once(rig, ORDER)


def come_back(rig: Rig) -> None:
    """Take everything, answer the last."""
    queue = rig.device_side(resume=True)
    queue.push(chains(queue)[-1], 0)
    queue.publish()


# -- a stand-in of the driver's side -----------------------------------------------------------------------------------

OWNER, HINT = 0x5000, 0x5040


class SharedRig(Rig):
    """The same with an owner word and a hint beside the ring."""

    def owned(self, word: int, *, resume: bool, answered: bool = False) -> DeviceQueue:
        self.window.store32(OWNER, word)
        return DeviceQueue(
            self.window, SIZE, DESC, DRIVER, DEVICE, event_idx=True, indirect=True, record=self.kept,
            record_offset=RECORD, resume=resume, answered=answered, owner=OWNER, owner_word=word, hint=HINT,
        )  # fmt: skip

    @property
    def hinted(self) -> list[int]:
        return [head for head in range(SIZE) if self.window.load8(HINT + head)]

    def stand_in(self, *answers: int) -> None:
        """Answer these heads in the place of the device."""
        for head in answers:
            self.use(self.used_index, head, 0)
            self.window.store16(DEVICE + 2, (self.used_index + 1) & 0xFFFF)


def test_the_hint_names_what_is_in_flight() -> None:
    rig = SharedRig()
    rig.window.write(HINT, b"\1" * SIZE)
    queue = rig.owned(5, resume=False)
    assert rig.hinted == []
    rig.make_available(6, 1, 3)
    six, one = pop(queue), pop(queue)
    assert rig.hinted == [1, 6]
    queue.push(six, 0)
    assert rig.hinted == [1]
    queue.publish()
    queue.push(one, 0)
    successor = rig.owned(9, resume=True)
    assert rig.hinted == [1], "pushed but not published: it is in flight again"
    assert heads(successor) == [1, 3]
    assert rig.hinted == [1, 3]


def test_the_hint_is_clear_before_the_used_index_moves() -> None:
    rig = SharedRig()
    queue = rig.owned(5, resume=False)
    rig.make_available(6, 1)
    six, one = pop(queue), pop(queue)

    def serve() -> None:
        queue.push(one, 0)
        queue.push(six, 0)
        queue.publish()

    for memory in every_instant(serve, lambda: rig.window.read(HINT, SIZE) + rig.window.read(DEVICE, 4)):
        if memory[SIZE + 2] == 2:
            assert memory[:SIZE] == bytes(SIZE)


def test_a_ring_that_was_taken_is_not_written() -> None:
    rig = SharedRig()
    queue = rig.owned(5, resume=False)
    rig.make_available(6, 1)
    six, one = pop(queue), pop(queue)
    queue.push(six, 3)
    rig.window.store32(OWNER, 6)
    before = rig.memory()
    assert not queue.publish()
    queue.push(one, 3)
    assert not queue.publish()
    assert rig.memory() == before
    assert queue.broken
    with pytest.raises(RingTaken, match="owner word"):
        queue.pop()


def test_what_a_stand_in_answered_is_not_answered_again() -> None:
    rig = SharedRig()
    queue = rig.owned(5, resume=False)
    rig.make_available(6, 1, 3)
    pop(queue), pop(queue)
    rig.stand_in(6, 1, 3)
    rig.make_available(2)
    successor = rig.owned(9, resume=True, answered=True)
    assert successor.index == 3
    assert rig.record(QueueRecord.RING_OWNER) == 9
    assert heads(successor) == [2]
    assert rig.hinted == [2]


def test_a_stand_in_that_answered_nothing_changes_nothing() -> None:
    rig = SharedRig()
    queue = rig.owned(5, resume=False)
    rig.make_available(6, 1)
    pop(queue)
    assert heads(rig.owned(9, resume=True, answered=True)) == [6, 1]


def test_an_index_that_moved_without_a_stand_in() -> None:
    rig = SharedRig()
    queue = rig.owned(5, resume=False)
    rig.make_available(6)
    pop(queue)
    rig.stand_in(6)
    with pytest.raises(UsedIndexChanged):
        rig.owned(9, resume=True, answered=False)


def test_killed_at_every_instant_of_coming_back_behind_a_stand_in() -> None:
    """Killed before, while, and after it publishes a batch; then the stand-in answers all; then killed again."""
    rig = SharedRig()
    publish = about_to_publish(rig, rig.owned(5, resume=False))
    for memory in every_instant(publish, rig.memory):
        rig.put_back(memory)
        rig.stand_in(*[head for head in ORDER if head not in rig.came_back()])
        for later in every_instant(lambda: behind_a_stand_in(rig), rig.memory):
            rig.put_back(later)
            answered = rig.record(QueueRecord.RING_OWNER) != 9
            assert heads(rig.owned(9, resume=True, answered=answered)) == []
            assert rig.record(QueueRecord.IN_FLIGHT_COUNT) == 0


def behind_a_stand_in(rig: SharedRig) -> None:
    rig.owned(9, resume=True, answered=True)
