# SPDX-License-Identifier: MIT
"""The hostile back-end on packed rings: it serves a driver of ours well, until it lies, and then the driver notices."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from ivshmem_virtio.core import DriverQueue
from ivshmem_virtio.errors import (
    IvshmemVirtioError,
    UsedIdNotInFlight,
    UsedIdOutsideQueue,
    UsedLengthTooLarge,
)
from ivshmem_virtio.evil.backend import stage
from ivshmem_virtio.evil.backend.catalogue import SCENARIOS
from ivshmem_virtio.evil.backend.chain import Chain
from ivshmem_virtio.evil.backend.memory import Memory
from ivshmem_virtio.evil.backend.packed_ring import PACKED, WRAP, moved
from ivshmem_virtio.evil.backend.queue import PuppetQueue
from ivshmem_virtio.evil.backend.scenario import PACKED_PREFIX
from ivshmem_virtio.transport.driver.blk import SECTOR, BlkDriver
from ivshmem_virtio.transport.driver.errors import RequestTimedOut
from ivshmem_virtio.transport.features import Feature

from .evil_theatre import Theatre, theatre
from .packed_rig import BUFFER, DESC, DEVICE, DRIVER, TABLE
from .split_rig import LENGTH, memory_window

# These are about devices of other types than a disk.
OTHERS = {"packed-net-buffers-lie", "packed-console-input-flood", "packed-rng-length-lies"}
NAMES = [scenario.name for scenario in SCENARIOS.values() if scenario.packed and scenario.name not in OTHERS]
# What a driver that has a single request in flight sees at once.
SEEN = {
    "used-id-outside": UsedIdOutsideQueue,
    "used-id-highest": UsedIdOutsideQueue,
    "ring-ones": UsedIdOutsideQueue,
    "used-twice": UsedIdNotInFlight,
    "used-in-pieces": UsedIdNotInFlight,
    "used-lap-of-all": UsedIdNotInFlight,
    "used-lap-of-one": UsedIdNotInFlight,
    "used-length-huge": UsedLengthTooLarge,
    "used-length-beyond-buffer": UsedLengthTooLarge,
    "used-wrap-inverted": RequestTimedOut,
    "used-wrap-flips": RequestTimedOut,
    "used-forward": RequestTimedOut,
    "used-backward": RequestTimedOut,
    "used-standing": RequestTimedOut,
    "never-used": RequestTimedOut,
    "ring-zeroed": RequestTimedOut,
}


@pytest.fixture(autouse=True)
def without_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is in the same thread: nothing can come while the back-end waits for it."""
    monkeypatch.setattr(stage, "NAP_MILLISECONDS", 0)


@pytest.mark.parametrize("queue_size", [4, 8, 64])
def test_it_serves_packed_rings(tmp_path: Path, queue_size: int) -> None:
    """A disk's data, written and read over many laps of the ring."""
    data = Random(queue_size).randbytes(96 * SECTOR)
    with theatre(tmp_path, queue_size=queue_size, seconds=30.0) as made:
        made.driver.bring_up()
        disk = BlkDriver(made.driver)
        assert made.driver.features & Feature.RING_PACKED
        for sector in range(96):
            disk.write(sector, data[sector * SECTOR : (sector + 1) * SECTOR])
        assert disk.read(0, 96) == data
        assert b"".join(disk.read(sector, 1) for sector in range(96)) == data
        assert disk.identity() == "evil"
        assert made.puppet.ran_packed
        assert made.puppet.answered > 3 * queue_size


class Rings:
    """A ring that a driver queue of the core drives, and the device side of the hostile back-end."""

    def __init__(self, size: int, *, indirect: bool = False) -> None:
        self.window = memory_window()
        self.memory = Memory(self.window, 0, LENGTH)
        self.driver = DriverQueue(
            self.window, size, DESC, DRIVER, DEVICE, packed=True, event_idx=True, indirect=indirect
        )
        self.queue = PuppetQueue(0, size, DESC, 0, PACKED, size=size, desc=DESC, driver=DRIVER, device=DEVICE)
        self.queue.begin()
        PACKED.ask(self.memory, self.queue)

    def take(self) -> list[Chain]:
        chains = []
        while (chain := PACKED.take(self.memory, self.queue)) is not None:
            chains.append(chain)
        PACKED.ask(self.memory, self.queue)
        return chains


@pytest.mark.parametrize("size", [1, 5, 8, 13])
def test_lists_of_any_length_come_back_in_any_order(size: int) -> None:
    rings, random = Rings(size), Random(size)
    held: list[Chain] = []
    sent: dict[int, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}
    for token in range(200):
        parts = random.randrange(1, size + 1)
        if parts <= rings.driver.free:
            readable = [(BUFFER + 16 * token, 1 + token % 7)] * random.randrange(parts + 1)
            writable = [(BUFFER + 16 * token + 8, 5)] * (parts - len(readable))
            rings.driver.add(readable, writable, token)
            sent[token] = readable, writable
            assert rings.driver.publish(), "the device asked to be told of the next chain"
        held += rings.take()
        random.shuffle(held)
        for _ in range(random.randrange(len(held) + 1)):
            chain = held.pop()
            PACKED.use(rings.memory, rings.queue, chain.head, 5 * len(chain.writable), chain.step)
            used = rings.driver.get()
            assert used is not None
            assert isinstance(used[0], int)
            assert sent.pop(used[0]) == (chain.readable, chain.writable)
            assert used[1] == 5 * len(chain.writable)
    assert len(sent) == len(held)


def test_tables() -> None:
    rings = Rings(4, indirect=True)
    for token in range(50):
        rings.driver.add([(BUFFER, 3), (BUFFER + 8, 4)], [(BUFFER + 64, 9)], token, TABLE)
        rings.driver.publish()
        (chain,) = rings.take()
        assert (chain.readable, chain.writable, chain.step) == ([(BUFFER, 3), (BUFFER + 8, 4)], [(BUFFER + 64, 9)], 1)
        PACKED.use(rings.memory, rings.queue, chain.head, 9, chain.step)
        assert rings.driver.get() == (token, 9)


def test_positions_move_over_laps_and_back() -> None:
    queue = Rings(5).queue
    assert moved(queue, WRAP | 3, 1) == WRAP | 4
    assert moved(queue, WRAP | 3, 2) == 0
    assert moved(queue, 3, 7) == 0
    assert moved(queue, 3, 12) == WRAP
    assert moved(queue, WRAP | 1, -2) == 4


@pytest.mark.parametrize(("name", "error"), SEEN.items())
def test_a_driver_sees_the_lie(tmp_path: Path, name: str, error: type[IvshmemVirtioError]) -> None:
    with theatre(tmp_path, SCENARIOS[PACKED_PREFIX + name]) as made, pytest.raises(error):
        live(made)


@pytest.mark.parametrize("name", NAMES)
def test_a_driver_comes_to_an_end(tmp_path: Path, name: str) -> None:
    """It works on, or ends with an error of its own; and the back-end did something."""
    with theatre(tmp_path, SCENARIOS[name]) as made:
        with suppress(IvshmemVirtioError):
            live(made)
        assert made.play.done


def live(made: Theatre) -> None:
    """Up, and requests of every kind that Linux makes."""
    made.driver.bring_up()
    disk = BlkDriver(made.driver)
    made.begin()
    for sector in range(20):
        disk.write(sector, bytes(2 * SECTOR))
        disk.read(sector, 4)
    disk.identity()
