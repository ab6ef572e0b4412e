# SPDX-License-Identifier: MIT
"""The worker threads of a disk, and the engines on them."""

from __future__ import annotations

from ivshmem_virtio.core import BlkEngine, PlaneWorker


class Plane:
    """Queues take turns on the workers, which start with the first engine. For the loop of the disk."""

    def __init__(self, name: str, workers: int = 1) -> None:
        self._name = name
        self._count = workers
        self._workers: list[PlaneWorker] = []
        self._engines: list[BlkEngine] = []

    def worker_of(self, queue: int, engine: BlkEngine) -> PlaneWorker:
        """The worker that is to serve a queue with this engine."""
        if not self._workers:
            self._workers = [PlaneWorker(f"{self._name} {number}") for number in range(self._count)]
            for worker in self._workers:
                worker.start()
        self._engines.append(engine)
        return self._workers[queue % self._count]

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
