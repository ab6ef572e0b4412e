# SPDX-License-Identifier: MIT
"""The worker threads of a disk, the engines on them, and the kernel's rings that take what has to wait."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from ivshmem_virtio.core import BlkEngine, PlaneWorker, Uring
from ivshmem_virtio.devices import blk_rings
from ivshmem_virtio.devices.device import DeviceError
from ivshmem_virtio.devices.placement import PlacementInvalid, spin_of

AIO = ("auto", "io_uring", "none")
"""Who waits for the storage: the kernel where it can, or must, or the workers themselves."""

_log = logging.getLogger("ivshmem_virtio.device.blk")


class RingsMissing(DeviceError):
    """There is no io_uring, and the configuration insists on it."""


class Plane:
    """Queues take turns on the workers; each has an io_uring of its own, if any. For the loop of the disk."""

    def __init__(
        self, name: str, *, queues: int, workers: int, poll: str | int, cpus: Sequence[int], aio: str = "none"
    ) -> None:
        self._name = name
        self._queues = queues
        self._aio = aio
        self._rings: list[Uring] = []
        self._count = workers
        self._spin = spin_of(f"disk {name}", poll)
        self._cpus = tuple(cpus)
        self._workers: list[PlaneWorker] = []
        self._engines: list[BlkEngine] = []

    def prepare(self) -> None:
        """While the process may do anything still: get what ``start`` will need."""
        if self._aio != "none":
            blk_rings.lay_in(self._queues)

    def ring_of(self, queue: int) -> Uring | None:
        """For the engine of a queue, which is the only one of that queue at a time."""
        return self._rings[queue] if self._rings else None

    def worker_of(self, queue: int, engine: BlkEngine) -> PlaneWorker:
        """The worker that is to serve a queue with this engine."""
        self._engines.append(engine)
        return self._workers[queue % self._count]

    def start(self) -> None:
        """Start the workers now; raises PlacementInvalid and RingsMissing."""
        self._rings = self._take_rings()
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

    def _take_rings(self) -> list[Uring]:
        if self._aio == "none":
            return []
        try:
            return blk_rings.take(self._queues)
        except OSError as error:
            if self._aio == "io_uring":
                raise RingsMissing(
                    f'disk {self._name}: no io_uring here ({error.strerror}): set aio = "auto", or allow it '
                    "(sysctl kernel.io_uring_disabled)"
                ) from None
            _log.info("%s: no io_uring here (%s): its workers wait for the storage", self._name, error.strerror)
            return []

    def set_writethrough(self, writethrough: bool) -> None:
        """Returns when no write is under way that began before."""
        for engine in self._engines:
            engine.set_writethrough(writethrough)
        for engine in self._engines:
            if engine.worker is not None:
                engine.worker.aside(engine.settle)

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
        blk_rings.give_back(self._rings)
        self._rings = []
