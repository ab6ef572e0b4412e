# SPDX-License-Identifier: MIT
"""However often somebody rings: so much work a second, and nothing that was rung is missed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.allowance import Allowance
from ivshmem_virtio.transport.device import TRANSACTIONS_PER_LOOK
from ivshmem_virtio.transport.doorbell_watch import DoorbellWatch
from ivshmem_virtio.transport.state_machine import StateMachine
from ivshmem_virtio.transport.transaction import Transaction

from .driver_link_pair import bench

RATE = 200
SECONDS = 0.5


@pytest.fixture
def bells() -> Iterator[list[int]]:
    descriptors = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


class Watched:
    """A watch on a loop of its own; what it called."""

    def __init__(self, descriptors: list[int], rate: float) -> None:
        self.loop = asyncio.new_event_loop()
        self.descriptors = descriptors
        self.rung: list[int] = []
        self.looks = 0
        self.watch = DoorbellWatch(self.loop, descriptors, self._rung, self._looked, rate)
        self.watch.start()

    def _rung(self, position: int) -> None:
        os.eventfd_read(self.descriptors[position])
        self.rung.append(position)

    def _looked(self) -> None:
        self.looks += 1

    def run(self, seconds: float) -> None:
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run_forever()

    def storm(self) -> None:
        """Ring everything again at each turn of the loop."""
        for descriptor in self.descriptors:
            os.eventfd_write(descriptor, 1)
        self.loop.call_soon(self.storm)


def test_a_storm_is_heard_as_often_as_the_rate_allows(bells: list[int]) -> None:
    watched = Watched(bells, RATE)
    watched.storm()
    for _ in range(20):
        watched.rung.clear()
        began = time.monotonic()
        watched.run(SECONDS)
        allowed = RATE * (time.monotonic() - began)
        assert len(watched.rung) < 1.5 * allowed + 10
        # A machine that was busy with something else has heard less; some time it has not been.
        if 0.2 * allowed < len(watched.rung):
            break
    else:
        pytest.fail(f"{len(watched.rung)} heard, {allowed:.0f} allowed")
    assert watched.watch.pauses > 1
    assert watched.looks >= watched.watch.pauses - 1
    watched.watch.stop()
    watched.loop.close()


def test_what_is_rung_while_nobody_listens_is_heard_afterwards(bells: list[int]) -> None:
    watched = Watched(bells, 4)
    while watched.watch.spend(1):
        continue
    for descriptor in bells:
        os.eventfd_write(descriptor, 1)
    watched.run(0.01)
    assert watched.rung == []
    deadline = time.monotonic() + 60
    while len(watched.rung) < 3 and time.monotonic() < deadline:
        watched.run(0.01)
    assert sorted(watched.rung) == [0, 1, 2]
    assert watched.looks >= 1
    watched.watch.stop()
    watched.loop.close()


def test_below_the_rate_nobody_waits(bells: list[int]) -> None:
    watched = Watched(bells, 1_000_000)
    for _ in range(50):
        os.eventfd_write(bells[1], 1)
        watched.run(0.001)
    assert watched.rung == [1] * 50
    assert watched.watch.pauses == 0
    watched.watch.stop()
    watched.loop.close()


@pytest.mark.parametrize("paused", [False, True])
def test_a_stopped_watch_is_silent(bells: list[int], paused: bool) -> None:
    watched = Watched(bells, 20)
    while paused and watched.watch.spend(1):
        continue
    watched.watch.stop()
    os.eventfd_write(bells[0], 1)
    watched.run(0.2)
    assert watched.rung == []
    assert watched.looks == 0
    watched.loop.close()


def test_an_allowance_has_bursts_and_debts() -> None:
    allowance = Allowance(rate=10, burst=1.0)
    for _ in range(10):
        assert allowance.wait(100.0) == 0
        allowance.spend(100.0)
    assert allowance.wait(100.0) == 0
    allowance.spend(100.0, 10)
    assert allowance.wait(100.0) == pytest.approx(2.0)
    assert allowance.wait(101.5) == 0
    allowance.spend(200.0)
    assert allowance.wait(200.0) == 0


def test_transactions_have_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions that are stored as soon as the last one is cleared end in a pause, not in work without end."""
    with bench() as b:
        b.bring_up()
        window = b.pair.frontend.window
        served = 0
        act = StateMachine.act

        def again(self: StateMachine, transaction: Transaction) -> None:
            nonlocal served
            served += 1
            act(self, transaction)
            window.store32(Header.WRITE_TRANSACTION, Transaction.of(Header.QUEUE_SEL, 4, served).word)

        monkeypatch.setattr(StateMachine, "act", again)
        window.store32(Header.WRITE_TRANSACTION, Transaction.of(Header.QUEUE_SEL, 4, 0xFFF).word)
        for _ in range(100):
            b.device.look()
        assert served < 100 * TRANSACTIONS_PER_LOOK / 2
        assert b.device._doorbells.pauses
