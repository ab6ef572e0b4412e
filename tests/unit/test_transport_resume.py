# SPDX-License-Identifier: MIT
"""A transport that is killed between any two stores of what it keeps, and the one that goes on in its place."""

from __future__ import annotations

from typing import Any

import pytest

from ivshmem_virtio.link.layout import BackendLine, Capability, Header, State
from ivshmem_virtio.transport.driver.errors import DeviceNeedsReset, EpochChanged
from ivshmem_virtio.transport.driver.transport import EVERYTHING
from ivshmem_virtio.transport.features import Feature, Status
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.queue import Queue
from ivshmem_virtio.transport.resumption import MOST_TRIES

from .driver_link_pair import Mirror
from .kept_bench import QUEUES, KeptBench, KeptPackedBench, Killed
from .split_rig import memory_window


@pytest.fixture
def bench() -> Any:
    made = KeptBench()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("make", "numbers"),
    [(KeptBench, slice(0, None, 3)), (KeptPackedBench, slice(1, None, 17))],
    ids=["split", "packed"],
)
def test_killed_before_every_store(make: type[KeptBench], numbers: slice) -> None:
    whole = make()
    whole.work()
    assert bool(whole.driver.features & Feature.RING_PACKED) == whole.mirror.packed
    stores = whole.memory.stores
    whole.close()
    assert stores > 300
    for number in range(stores)[numbers]:
        made = make()
        made.memory.left = number
        try:
            made.work()
            assert made.deaths == 1
        finally:
            made.close()


def test_requests_in_flight_are_answered_by_the_next(bench: KeptBench) -> None:
    bench.bring_up()
    epoch, session = bench.device.epoch, bench.driver.backend
    bench.mirror.hold = True
    ring = bench.driver.queues[0]
    requests = [ring.submit([text], [2]) for text in (b"ab", b"cd", b"ef")]
    ring.kick()
    bench.pause(0)
    bench.die()
    assert bench.pair.frontend.other_state() == State.ABSENT
    assert [bench.driver.complete(ring, request).data for request in requests] == [b"ba", b"dc", b"fe"]
    assert bench.device.epoch == epoch
    assert bench.driver.backend is session


def test_a_successor_is_not_taken_for_one_that_stood_still(bench: KeptBench) -> None:
    """A front-end that has seen a heartbeat stand still for seconds must see at once that this is another process."""
    bench.bring_up()
    bench.device.registers.beat()
    extension = bench.driver.backend.extension
    assert extension is not None
    before = bench.pair.frontend.window.load32(extension.offset + BackendLine.HEARTBEAT)
    bench.die()
    bench.start()
    assert bench.pair.frontend.window.load32(extension.offset + BackendLine.HEARTBEAT) != before


def test_a_reset_that_waits_comes_before_what_is_in_flight(bench: KeptBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.bring_up()
    bench.mirror.hold = True
    queue = bench.device.queues[0]
    assert queue is not None
    ring = bench.driver.queues[0]
    ring.submit([b"ab"], [2])
    ring.kick()
    assert queue.pop() is not None
    bench.die()
    window = bench.pair.frontend.window
    window.store32(Header.DEVICE_STATUS, 0)
    window.store32(Header.WRITE_TRANSACTION, 4 << 16 | 7 << 20 | Header.DEVICE_STATUS)
    # An engine would begin with what is in flight as soon as the device is active.
    monkeypatch.setattr(Mirror, "activate", lambda *_: pytest.fail("the device was activated"))
    bench.start()
    assert window.load32(Header.WRITE_TRANSACTION) == 0
    assert bench.device.status == 0
    assert bench.mirror.handled == 0


def test_a_used_index_that_was_changed_needs_a_reset(bench: KeptBench) -> None:
    bench.bring_up()
    bench.ask(b"x")
    bench.die()
    queue = bench.driver.queues[0]._ring
    bench.pair.frontend.window.store16(bench_used_index(bench), 9)
    bench.start()
    assert bench.device.status & Status.NEEDS_RESET
    assert bench.mirror.active is None
    with pytest.raises(DeviceNeedsReset):
        bench.driver.check()
    assert not queue.broken
    bench.driver.reset()
    bench.driver.bring_up()
    bench.bring_up_from_here()
    assert bench.ask(b"again") == b"niaga"


def bench_used_index(bench: KeptBench) -> int:
    """Where the used index of queue 0 lies, from what is kept of it."""
    record = KeptLink(bench.memory.window, 0x40, QUEUES).ring_record(0)[1]
    return bench.memory.window.load64(record + 0x18) + 2


@pytest.mark.parametrize("capabilities", [EVERYTHING & ~Capability.RESUME, Capability(0)])
def test_a_driver_that_cannot_resume_meets_a_new_epoch(capabilities: Capability) -> None:
    made = KeptBench(capabilities=capabilities)
    try:
        made.bring_up()
        epoch = made.device.epoch
        made.die()
        made.start()
        assert made.device.epoch != epoch
        assert made.device.status == 0
    finally:
        made.close()


@pytest.mark.parametrize("selected", [2, 3, 0xFFFFFFFE])
def test_a_selection_that_there_is_no_queue_for(selected: int) -> None:
    """A process that goes on from a spoilt object must not end over it, or all its successors would."""
    kept = KeptLink(memory_window(0x4000), 0x40, QUEUES)
    kept.keep_selection(selected, 0, 0)
    assert kept.selected is None
    kept.keep_selection(1, 0, 0)
    assert kept.selected == 1


def test_nobody_waits(bench: KeptBench) -> None:
    bench.bring_up()
    epoch = bench.device.epoch
    bench.die()
    bench.pair.frontend.set_state(State.ABSENT)
    bench.start()
    assert bench.device.epoch != epoch


def test_a_device_that_cannot_be_resumed(bench: KeptBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.bring_up()
    epoch = bench.device.epoch
    monkeypatch.setattr(Mirror, "resumable", False)
    bench.die()
    bench.start()
    assert bench.device.epoch != epoch
    assert Capability.RESUME not in Capability(bench.device.registers.capabilities)


def test_an_orderly_stop_is_resumed_as_well(bench: KeptBench) -> None:
    bench.bring_up()
    epoch = bench.device.epoch
    bench.stop()
    bench.die()
    assert bench.ask(b"on") == b"no"
    assert bench.device.epoch == epoch


def test_a_request_that_kills_every_back_end_is_given_up(bench: KeptBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.bring_up()
    epoch = bench.device.epoch

    def fall_over(mirror: Mirror, queue: Queue) -> None:
        if queue.pop() is not None:
            raise Killed

    monkeypatch.setattr(Mirror, "handle_queue", fall_over)
    ring = bench.driver.queues[0]
    with pytest.raises(EpochChanged):
        bench.driver.complete(ring, ring.submit([b"deadly"], [6]))
    assert bench.device.epoch != epoch
    assert bench.deaths == 1 + MOST_TRIES
