# SPDX-License-Identifier: MIT
"""A null disk on a worker, and its driver: no transport between, so that what is counted is the worker's own."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ivshmem_virtio.core import Bell, BlkEngine, Chain, DeviceQueue, DriverQueue, PlaneWorker, Window

SIZE = 128
WINDOW = 1 << 20
CAPACITY = 1 << 20
BUFFERS = 1 << 16
READ, GET_ID = 0, 8
PATIENCE = 60.0


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)


class NullDisk:
    """One queue with both its ends. ``served``: requests that Python was asked for."""

    def __init__(self) -> None:
        fd = os.memfd_create("plane-rig")
        os.ftruncate(fd, WINDOW)
        self.window = Window(fd, 0, WINDOW)
        os.close(fd)
        self.place = (self.window, SIZE, 4096, 8192, 12288)
        self.device = DeviceQueue(*self.place, event_idx=True, indirect=False)
        self.driver = DriverQueue(*self.place, event_idx=True, indirect=False)
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.interrupt = os.eventfd(0, os.EFD_NONBLOCK)
        self.bell = Bell(self.window, 0)
        self.bell.hang(self.interrupt)
        self.served: list[int] = []
        self.engine = BlkEngine(self.device, self.bell, self.serve, fd=-1, capacity=CAPACITY, read_only=False)
        self.kicks = 0

    def serve(self, chain: Chain, error: int) -> int:
        """The server of requests: whatever the engine does not do itself."""
        self.served.append(error)
        return chain.write(0, b"\1")

    def add(self, kind: int = READ, count: int = 1, data: int = 512) -> None:
        """Make requests visible that all use the same buffers, whose content nobody looks at; no kick."""
        self.window.write(BUFFERS, struct.pack("<IIQ", kind, 0, 0))
        for _ in range(count):
            self.driver.add([(BUFFERS, 16)], [(BUFFERS + 4096, data), (BUFFERS + 8192, 1)], None)

    def kick(self) -> None:
        """Make visible what was added, and ring if the device wants that."""
        if self.driver.publish():
            self.ring()

    def ring(self) -> None:
        """Ring the doorbell without asking."""
        self.kicks += 1
        os.eventfd_write(self.doorbell, 1)

    def collect(self) -> int:
        """How many requests have come back."""
        count = 0
        while self.driver.get() is not None:
            count += 1
        return count

    def round_trip(self, count: int = 1) -> None:
        """So many requests, all of them back."""
        self.add(count=count)
        self.kick()
        back = 0

        def enough() -> bool:
            nonlocal back
            back += self.collect()
            return back == count

        until(enough, f"{back} of {count} requests came back")

    def close(self) -> None:
        os.close(self.doorbell)
        os.close(self.interrupt)
        self.window.close()


@contextmanager
def disk_on_worker(
    *, longest_spin: int = 50_000, doorbell_rate: int = 20_000
) -> Iterator[tuple[NullDisk, PlaneWorker]]:
    """A disk that a worker serves, until the end."""
    disk = NullDisk()
    worker = PlaneWorker("plane rig", longest_spin=longest_spin)
    worker.start()
    try:
        worker.attach(disk.engine, doorbells=[disk.doorbell], doorbell_rate=doorbell_rate)
        try:
            yield disk, worker
        finally:
            if disk.engine.worker is worker:
                worker.detach(disk.engine)
    finally:
        worker.stop()
        disk.close()
