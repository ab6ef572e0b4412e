# SPDX-License-Identifier: MIT
"""The worker threads of a disk, and the engines on them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ivshmem_virtio.core import BlkEngine, PlaneWorker
from ivshmem_virtio.devices.device import DeviceError

SPINS = {"adaptive": 100_000, "never": 0, "always": -1}
"""Nanoseconds for which a worker looks for more work at most."""


class PlacementInvalid(DeviceError):
    """The threads of a disk cannot run as configured."""


class Plane:
    """Queues take turns on the workers. For the loop of the disk."""

    def __init__(self, name: str, *, workers: int, poll: str | int, cpus: Sequence[int]) -> None:
        spin = SPINS.get(poll) if isinstance(poll, str) else poll * 1000
        if spin is None:
            raise PlacementInvalid(f"disk {name}: poll = {poll!r} is none of {', '.join(SPINS)}, nor microseconds")
        self._name = name
        self._count = workers
        self._spin = spin
        self._cpus = tuple(cpus)
        self._workers: list[PlaneWorker] = []
        self._engines: list[BlkEngine] = []

    def worker_of(self, queue: int, engine: BlkEngine) -> PlaneWorker:
        """The worker that is to serve a queue with this engine."""
        self._engines.append(engine)
        return self._workers[queue % self._count]

    def start(self) -> None:
        """Start the workers now; raises PlacementInvalid."""
        for number in range(self._count):
            worker = PlaneWorker(f"{self._name} {number}", longest_spin=self._spin, cpus=self._cpus)
            try:
                worker.start()
            except OSError as error:
                self.close()
                raise PlacementInvalid(
                    f"disk {self._name}: cpus = {list(self._cpus)}: {error.strerror}; processors "
                    f"{sorted(os.sched_getaffinity(0))} are there for this process"
                ) from None
            self._workers.append(worker)

    def set_writethrough(self, writethrough: bool) -> None:
        """Returns when no write is under way that began before."""
        for engine in self._engines:
            engine.set_writethrough(writethrough)
        for worker in self._workers:
            worker.aside(_nothing)

    def set_capacity(self, capacity: int) -> None:
        """Bytes."""
        for engine in self._engines:
            engine.set_capacity(capacity)

    def forget(self) -> None:
        """Engines that were detached."""
        self._engines.clear()

    def close(self) -> None:
        """Stop the workers."""
        self._engines.clear()
        for worker in self._workers:
            worker.stop()
        self._workers.clear()


def _nothing() -> None:
    """All that matters is that the worker stood aside."""
