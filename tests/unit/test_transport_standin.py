# SPDX-License-Identifier: MIT
"""A front-end's stand-in answers while the back-end is away: who may write the ring, and how the next one goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ivshmem_virtio.link.layout import Owner, QueueLine, State, next_owner_word, owner_of
from ivshmem_virtio.transport.driver.errors import EpochChanged
from ivshmem_virtio.transport.features import Status
from ivshmem_virtio.transport.kept_layout import QueueRecord
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.resumption import MOST_TRIES, STANDIN_SECONDS

from .kept_bench import QUEUES, KeptBench, KeptPackedBench

WRAP, SLOT = 0x8000, 0x7FFF
NEXT, AVAIL, USED_BITS = 1, 1 << 7, 1 << 7 | 1 << 15


class StandinBench(KeptBench):
    """A bench with a driver that answers its own requests of queue 0."""

    @property
    def word_at(self) -> int:
        return self.device.registers.layout.queue_line(0) + QueueLine.OWNER

    @property
    def word(self) -> int:
        return self.pair.frontend.window.load32(self.word_at)

    @property
    def owner(self) -> int:
        return owner_of(self.word)

    def take(self) -> None:
        """As the stand-in does."""
        assert self.pair.frontend.window.compare_exchange32(
            self.word_at, self.word, next_owner_word(self.word, Owner.FRONTEND)
        )

    def give_back(self) -> None:
        assert self.owner == Owner.FRONTEND
        assert self.pair.frontend.window.compare_exchange32(
            self.word_at, self.word, next_owner_word(self.word, Owner.NOBODY)
        )

    def answer_all(self) -> None:
        """One pass, in the layout of the ring."""
        if self.mirror.packed:
            self.answer_packed()
        else:
            self.answer_split()

    def answer_packed(self) -> None:
        """Chains were taken in their order. Where the back-end goes on stands in the queue's line."""
        record = KeptLink(self.memory.window, 0x40, QUEUES).ring_record(0)[1]
        window, size = self.pair.frontend.window, self.memory.window.load32(record + 4)
        desc = self.memory.window.load64(record + 8)
        position = self.memory.window.load16(record + QueueRecord.USED_POSITION)
        while window.load16(desc + 16 * (position & SLOT) + 14) & USED_BITS == available(position):
            first, last = position, position
            while window.load16(desc + 16 * (last & SLOT) + 14) & NEXT:
                last = step(last, size)
            window.store32(desc + 16 * (first & SLOT) + 8, 0)
            window.store16(desc + 16 * (first & SLOT) + 14, USED_BITS if first & WRAP else 0)
            position = step(last, size)
        self.tell(position)

    def tell(self, position: int, owner: int | None = None) -> None:
        line = self.device.registers.layout.queue_line(0)
        self.pair.frontend.window.store32(line + QueueLine.ANSWERED_POSITION, position)
        self.pair.frontend.window.store32(line + QueueLine.ANSWERED_OWNER, self.word if owner is None else owner)

    def answer_split(self) -> None:
        """One pass, as long as the ring has not gone round: chains were taken in their order."""
        record = KeptLink(self.memory.window, 0x40, QUEUES).ring_record(0)[1]
        window, load = self.pair.frontend.window, self.memory.window.load64
        available, used = load(record + 0x10), load(record + 0x18)
        size = self.memory.window.load32(record + 4)
        for position in range(window.load16(used + 2), window.load16(available + 2)):
            head = window.load16(available + 4 + 2 * (position % size))
            window.store32(used + 4 + 8 * (position % size), head)
            window.store32(used + 8 + 8 * (position % size), 0)
            window.store16(used + 2, position + 1)

    def run(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


class PackedStandinBench(StandinBench, KeptPackedBench):
    """The same with packed rings."""


def step(position: int, size: int) -> int:
    return position + 1 if (position & SLOT) + 1 < size else position & WRAP ^ WRAP


def available(position: int) -> int:
    return AVAIL if position & WRAP else USED_BITS ^ AVAIL


@pytest.fixture(params=[StandinBench, PackedStandinBench], ids=["split", "packed"])
def bench(request: pytest.FixtureRequest) -> Iterator[StandinBench]:
    made: StandinBench = request.param()
    yield made
    made.close()


@pytest.fixture
def packed_bench() -> Iterator[StandinBench]:
    made = PackedStandinBench()
    yield made
    made.close()


def test_owner_words() -> None:
    word = next_owner_word(0, Owner.BACKEND)
    assert owner_of(word) == Owner.BACKEND
    assert owner_of(next_owner_word(word, Owner.FRONTEND)) == Owner.FRONTEND
    assert next_owner_word(0xFFFFFFFF, Owner.NOBODY) == 0
    assert len({word, next_owner_word(word, Owner.BACKEND), next_owner_word(word, Owner.NOBODY)}) == 3


def test_the_back_end_owns_the_rings_of_live_queues(bench: StandinBench) -> None:
    bench.start()
    assert bench.owner == Owner.NOBODY
    bench.bring_up()
    assert bench.owner == Owner.BACKEND
    word = bench.word
    bench.die()
    assert bench.word == word, "the dead leave their word behind"
    bench.start()
    assert bench.owner == Owner.BACKEND
    assert bench.word != word, "so that nobody takes it who looked before"
    bench.driver.reset_queue(0)
    assert bench.owner == Owner.NOBODY
    bench.driver.setup_queue(0)
    assert bench.owner == Owner.BACKEND
    bench.stop()
    assert bench.owner == Owner.NOBODY


def test_where_the_hint_lies(bench: StandinBench) -> None:
    bench.bring_up()
    window, layout = bench.pair.frontend.window, bench.device.registers.layout
    hints = [window.load32(layout.queue_line(index) + QueueLine.IN_FLIGHT) for index in range(len(QUEUES))]
    block, length = layout.ring_block(1)
    assert hints == [block + length, block + length + 64]
    assert layout.reserved == hints[-1] + 64
    bench.mirror.hold = True
    ring = bench.driver.queues[0]
    ring.submit([b"ab"], [2])
    ring.kick()
    queue = bench.device.queues[0]
    assert queue is not None
    chain = queue.pop()
    assert chain is not None
    assert [head for head in range(16) if window.load8(hints[0] + head)] == [chain.head]


def test_what_was_answered_is_not_redone(bench: StandinBench) -> None:
    bench.bring_up()
    epoch = bench.device.epoch
    ring = bench.driver.queues[0]
    bench.die()
    requests = [ring.submit([text], [2]) for text in (b"ab", b"cd")]
    ring.kick()
    bench.take()
    bench.answer_all()
    bench.give_back()
    bench.start()
    assert [bench.driver.complete(ring, request).data for request in requests] == [b"", b""]
    assert bench.device.epoch == epoch
    assert bench.mirror.handled == 0
    assert bench.ask(b"next") == b"txen"
    assert bench.device.status & Status.NEEDS_RESET == 0


def test_a_stand_in_that_is_still_at_it_is_waited_for(bench: StandinBench) -> None:
    bench.bring_up()
    epoch = bench.device.epoch
    ring = bench.driver.queues[0]
    bench.die()
    request = ring.submit([b"ab"], [2])
    ring.kick()
    bench.take()
    bench.start()
    bench.run(0.1)
    assert bench.pair.frontend.other_state() == State.RESUMING
    bench.answer_all()
    bench.give_back()
    for _ in range(1000):
        if bench.pair.frontend.other_state() == State.READY:
            break
        bench.run(0.05)
    assert bench.device.epoch == epoch
    assert bench.driver.complete(ring, request).data == b""
    assert bench.mirror.handled == 0


def test_a_stand_in_that_never_ends(bench: StandinBench) -> None:
    bench.bring_up()
    epoch = bench.device.epoch
    bench.die()
    bench.take()
    bench.start()
    bench.run(STANDIN_SECONDS + 0.5)
    assert bench.device.epoch != epoch
    assert bench.pair.frontend.other_state() == State.READY
    with pytest.raises(EpochChanged):
        bench.ask(b"x")


def test_a_ring_taken_from_a_back_end_that_stood_still(bench: StandinBench) -> None:
    bench.bring_up()
    epoch = bench.device.epoch
    ring = bench.driver.queues[0]
    ring.submit([b"ab"], [2])
    ring.kick()
    bench.take()
    bench.answer_all()
    bench.give_back()
    with pytest.raises(EpochChanged):
        bench.ask(b"cd")
    assert bench.device.epoch != epoch
    assert bench.owner == Owner.NOBODY


def test_a_queue_that_its_driver_holds_itself(bench: StandinBench) -> None:
    bench.bring_up()
    bench.driver.reset_queue(0)
    bench.take()
    window = bench.pair.frontend.window
    with pytest.raises(Exception, match="queue 0"):
        bench.driver.setup_queue(0)
    assert bench.device.status & Status.NEEDS_RESET
    assert window.load32(bench.word_at) == bench.word


def test_what_a_driver_that_is_gone_left_in_the_word(bench: StandinBench) -> None:
    bench.bring_up()
    bench.take()
    bench.pair.frontend.set_state(State.ABSENT)
    bench.pause(0)
    assert bench.word == 0
    bench.bring_up()
    assert bench.ask(b"on") == b"no"


def test_answered_again_and_again_around_a_packed_ring(packed_bench: StandinBench) -> None:
    bench = packed_bench
    bench.bring_up()
    epoch = bench.device.epoch
    ring = bench.driver.queues[0]
    for turn in range(12):
        assert bench.ask(b"on") == b"no"
        bench.die()
        requests = [ring.submit([b"ab"], [2]) for _ in range(1 + turn % 3)]
        ring.kick()
        for empty in range(2):
            bench.take()
            if not empty:
                bench.answer_all()
            bench.give_back()
        bench.start()
        assert [bench.driver.complete(ring, request).data for request in requests] == [b""] * len(requests)
    assert bench.device.epoch == epoch
    assert bench.device.status & Status.NEEDS_RESET == 0


def test_a_stand_in_that_found_a_packed_ring_broken(packed_bench: StandinBench) -> None:
    """It had the word, and answered nothing: what an earlier one has told does not count for this absence."""
    bench = packed_bench
    bench.bring_up()
    for request in ("first", "second"):
        bench.die()
        bench.take()
        if request == "first":
            bench.answer_all()
        bench.give_back()
        submitted = bench.driver.queues[0].submit([request.encode()], [8])
        bench.driver.queues[0].kick()
        bench.start()
        assert bench.driver.complete(bench.driver.queues[0], submitted).data == request[::-1].encode()


def test_a_back_end_killed_while_it_goes_on_behind_a_stand_in(packed_bench: StandinBench) -> None:
    """Its successor finds a newer word, and an answer from before that."""
    bench = packed_bench
    bench.bring_up()
    epoch = bench.device.epoch
    bench.die()
    request = bench.driver.queues[0].submit([b"ab"], [2])
    bench.driver.queues[0].kick()
    bench.take()
    bench.answer_all()
    bench.give_back()
    for stores in range(40):
        bench.memory.left = stores
        bench.start()
        if bench.running:
            break
    assert bench.running
    assert bench.deaths > 1, "it was killed while it came back"
    assert bench.driver.complete(bench.driver.queues[0], request).data == b""
    assert bench.ask(b"next") == b"txen"
    assert bench.device.epoch == epoch or bench.deaths > MOST_TRIES


@pytest.mark.parametrize("position", [16, 0x8010, 0xFFFF])
def test_a_position_outside_of_a_packed_ring(packed_bench: StandinBench, position: int) -> None:
    bench = packed_bench
    bench.bring_up()
    bench.die()
    bench.take()
    bench.tell(position)
    bench.give_back()
    bench.start()
    assert bench.device.status & Status.NEEDS_RESET


@pytest.mark.parametrize("owner", [0, 1, 0xFFFFFFFE])
def test_a_position_of_another_absence(packed_bench: StandinBench, owner: int) -> None:
    """An answered position counts only from the absence it was told in."""
    bench = packed_bench
    bench.bring_up()
    bench.die()
    request = bench.driver.queues[0].submit([b"ab"], [2])
    bench.driver.queues[0].kick()
    bench.take()
    bench.tell(5, owner)
    bench.give_back()
    bench.start()
    assert bench.driver.complete(bench.driver.queues[0], request).data == b"ba"
    assert bench.device.status & Status.NEEDS_RESET == 0
