# SPDX-License-Identifier: MIT
"""Packed rings through the whole transport: offered, placed by either side, reset, and gone on with after a kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ivshmem_virtio.link.layout import Capability, PackedPlacement
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.transport.kept_layout import QueueRecord, RingLayout

from .driver_link_pair import Bench
from .kept_bench import QUEUES, Keeping, KeptPackedBench


def packed_bench() -> Bench:
    made = Bench()
    made.mirror.packed = True
    return made


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = packed_bench()
    made.start()
    yield made
    made.close()


def test_it_is_offered_only_where_it_is_asked_for() -> None:
    plain = Bench()
    plain.start()
    plain.bring_up()
    assert not plain.device.offered & Feature.RING_PACKED
    assert not plain.driver.features & Feature.RING_PACKED
    plain.close()


def test_a_driver_may_stay_with_split_rings(bench: Bench) -> None:
    bench.driver.packed = False
    bench.bring_up()
    assert bench.device.offered & Feature.RING_PACKED
    assert not bench.driver.queues[0].ring.packed
    assert bench.ask(b"split") == b"tilps"


@pytest.mark.parametrize("host_placed", [True, False])
@pytest.mark.parametrize("size", [None, 4])
def test_many_laps(bench: Bench, host_placed: bool, size: int | None) -> None:
    bench.bring_up(size=size, host_placed=host_placed)
    assert bench.driver.features & Feature.RING_PACKED
    for queue in (0, 1):
        assert bench.driver.queues[queue].ring.packed
        for number in range(100):
            text = b"number %d" % number
            assert bench.ask(text, queue) == text[::-1]


def test_the_host_places_it_in_the_block(bench: Bench) -> None:
    bench.bring_up()
    start, length = bench.device.registers.layout.ring_block(0)
    placed = PackedPlacement.at(start, 16)
    (queue, *_) = bench.device.describe()["queues"]
    assert (queue["desc"], queue["driver"], queue["device"]) == (placed.desc, placed.driver, placed.device)
    assert placed.end <= start + length


def test_a_queue_that_was_reset_is_placed_for_the_same_layout(bench: Bench) -> None:
    bench.bring_up()
    bench.driver.reset_queue(1)
    bench.driver.setup_queue(1, size=2)
    assert bench.ask(b"again", 1) == b"niaga"


def test_after_a_reset_another_layout(bench: Bench) -> None:
    bench.bring_up()
    bench.driver.reset()
    bench.driver.packed = False
    bench.bring_up()
    assert bench.ask(b"split") == b"tilps"


def test_a_revision_1_driver() -> None:
    made = Bench(capabilities=Capability(0))
    made.mirror.packed = True
    made.start()
    made.bring_up()
    assert made.driver.queues[0].ring.packed
    assert made.ask(b"old") == b"dlo"
    made.close()


def test_requests_in_flight_are_answered_by_the_next() -> None:
    bench = KeptPackedBench()
    bench.bring_up()
    epoch = bench.device.epoch
    ring = bench.driver.queues[0]
    for number in range(20):
        bench.ask(b"lap %d" % number)
    window, record = Keeping(bench.memory, 0x40, QUEUES).ring_record(0)  # type: ignore[arg-type] # a window that can kill
    assert window.load32(record + QueueRecord.RING_LAYOUT) == RingLayout.PACKED
    bench.mirror.hold = True
    requests = [ring.submit([text], [8]) for text in (b"one", b"two", b"three")]
    ring.kick()
    bench.device.look()
    held = bench.device.queues[0]
    assert held is not None
    chains = [held.ring.pop() for _ in requests]
    assert all(chain is not None for chain in chains)
    bench.die()
    bench.start()
    assert bench.device.epoch == epoch
    assert [bench.driver.complete(ring, request).data for request in requests] == [b"eno", b"owt", b"eerht"]
    assert bench.ask(b"new") == b"wen"
    bench.close()
