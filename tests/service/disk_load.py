# SPDX-License-Identifier: MIT
"""Random writes and reads of a disk, many at once on several queues, each answer checked and each return noted."""

from __future__ import annotations

import random
import select
import time
from pathlib import Path

from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.driver.blk import SECTOR, BlkDriver
from ivshmem_virtio.transport.driver.queue import Request
from ivshmem_virtio.transport.driver.transport import DriverTransport

SLOT_SECTORS = 8
SLOT_BYTES = SLOT_SECTORS * SECTOR
USED_INDEX = 2
"""Offset in a used ring (virtio 1.4, 2.7.8)."""
STUCK_SECONDS = 60.0


class DiskLoad:
    """Slots of a disk; of each, at most one request is out, so that its content is known at any time.

    ``returned`` holds the time of every return, ``order`` the number of the request that it was, ``held`` how long it
    was out.
    """

    def __init__(
        self, transport: DriverTransport, image: Path, chance: random.Random, *, queues: int, depth: int, slots: int
    ) -> None:
        self.transport = transport
        self.disk = BlkDriver(transport, queues=queues)
        self.image = image
        content = image.read_bytes()
        self.content = [content[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] for slot in range(slots)]
        self.submitted = 0
        self.returned: list[float] = []
        self.order: list[int] = []
        self.held: list[float] = []
        self._depth = depth
        self._chance = chance
        self._out: dict[Request, tuple[int, float, int, bytes | None]] = {}
        self._free = list(range(slots))

    def step(self, *, submit: bool = True) -> None:
        """Have as many out as wanted, wait a moment, take what is back."""
        while submit and len(self._out) < self._depth:
            self._submit()
        for queue in self.disk.queues:
            queue.kick()
        self.transport.check()
        self._wait()
        for queue in self.disk.queues:
            self.transport.link.acknowledge(queue.vector)
            for request in queue.collect():
                self._take_back(request)
        if self.returned and time.monotonic() - self.returned[-1] > STUCK_SECONDS:
            raise AssertionError(f"{len(self._out)} requests are out, and none came back in {STUCK_SECONDS} s")

    def drain(self) -> None:
        """Until nothing is out."""
        while self._out:
            self.step(submit=False)

    def _wait(self) -> None:
        if not any(queue.arm() for queue in self.disk.queues):
            files = {self.transport.link.fileno(vector) for vector in (0, *(q.vector for q in self.disk.queues))}
            select.select(list(files), [], [], 0.05)

    def _submit(self) -> None:
        slot = self._free.pop(self._chance.randrange(len(self._free)))
        queue = self.submitted % len(self.disk.queues)
        sector = slot * SLOT_SECTORS
        data = self._chance.randbytes(SLOT_BYTES) if self._chance.random() < 0.6 else None
        if data is None:
            request = self.disk.submit_read(sector, SLOT_SECTORS, queue)
        else:
            request = self.disk.submit_write(sector, data, queue)
        self._out[request] = (self.submitted, time.monotonic(), slot, data)
        self.submitted += 1

    def _take_back(self, request: Request) -> None:
        """A request that came back twice would be a violation in the ring, or unknown here."""
        number, began, slot, data = self._out.pop(request)
        self.returned.append(time.monotonic())
        self.order.append(number)
        self.held.append(self.returned[-1] - began)
        self._free.append(slot)
        assert request.buffers[-1] == b"\0", f"request {number} failed with status {request.buffers[-1]!r}"
        if data is None:
            assert b"".join(request.buffers[:-1]) == self.content[slot], f"slot {slot} reads as something else"
        else:
            self.content[slot] = data

    def assert_each_once(self) -> None:
        """Every request of the driver has exactly one entry in a used ring, and the image holds what was written."""
        assert sorted(self.order) == list(range(self.submitted))
        queues = len(self.disk.queues)
        sent = [len(range(queue, self.submitted, queues)) & 0xFFFF for queue in range(queues)]
        assert [self._used_index(queue) for queue in range(queues)] == sent
        assert self.image.read_bytes()[: len(self.content) * SLOT_BYTES] == b"".join(self.content)

    def _used_index(self, queue: int) -> int:
        """As the back-end last published it."""
        self.transport.write_register(Header.QUEUE_SEL, queue)
        window = self.transport.link.window
        return window.load16(window.load64(Header.QUEUE_DEVICE) + USED_INDEX)
