# SPDX-License-Identifier: MIT
"""A driver for one device: real rings on a memory file, requests in, replies out, no transport between.

    with DriverRig(Blk("root", path=image, window=WINDOW), window=WINDOW) as rig:
        reply = rig.request(0, header + data, 1)
        assert reply.data == b"\\0"

Whatever a device does on its own (sockets, timers) happens while ``rig.run_until`` turns the event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ivshmem_virtio.core import Bell, DeviceQueue, DriverQueue, Engine, Window
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.transport.queue import Queue

FIRST_RING = 4096
EVENT_IDX = 1 << 29
INDIRECT = 1 << 28
VERSION_1 = 1 << 32


@dataclass
class Request:
    """One chain on its way through the device."""

    queue: int
    readable: list[tuple[int, int]]
    writable: list[tuple[int, int]]
    done: bool = False
    written: int = 0
    data: bytes = b""


@dataclass
class RigDriver:
    """What the device sees of the rig: a DriverHandle."""

    features: int
    queues: Sequence[Queue | None]
    config_changes: int = 0

    def config_changed(self) -> None:
        """Count only; the test reads ``device.config``."""
        self.config_changes += 1


@dataclass
class RigQueue:
    """Both ends of one ring."""

    device: Queue
    driver: DriverQueue
    notifications: int = 0
    outstanding: list[Request] = field(default_factory=list)
    engine: Engine | None = None
    bell: Bell = field(default_factory=Bell)

    @property
    def interrupts(self) -> int:
        """How often the device has notified the driver, whoever serves the queue."""
        return self.notifications if self.engine is None else self.bell.rung


class DriverRig:
    """Lays out one ring per queue of ``device``, opens and activates it, and plays the driver.

    ``features`` are the device features the driver accepts (default: all offered), ``queues`` the queues it enables
    (default: all). With ``compiled`` its queues are served by the device's engines, on this thread; with ``packed`` its
    rings are packed.
    """

    def __init__(
        self,
        device: Device,
        *,
        window: int = 1 << 20,
        features: int | None = None,
        queues: Collection[int] | None = None,
        event_idx: bool = True,
        indirect: bool = True,
        compiled: bool = False,
        packed: bool = False,
    ) -> None:
        self.device = device
        self.compiled = compiled
        self.packed = packed
        self.loop = asyncio.new_event_loop()
        self.indirect = indirect
        self._event_idx = event_idx
        fd = os.memfd_create("driver-rig")
        os.ftruncate(fd, window)
        self.window = Window(fd, 0, window)
        os.close(fd)
        self._next = FIRST_RING
        self.rings: dict[int, RigQueue] = {}
        try:
            device.open(self.loop)
        except BaseException:
            self.loop.close()
            raise
        for index, size in enumerate(device.queue_sizes):
            if queues is None or index in queues:
                self.rings[index] = self._lay_out(index, size)
        self._buffers = self._next
        accepted = device.features if features is None else features & device.features
        transport = VERSION_1 | (EVENT_IDX if event_idx else 0) | (INDIRECT if indirect else 0)
        enabled = [self.rings[i].device if i in self.rings else None for i in range(len(device.queue_sizes))]
        self.driver = RigDriver(accepted | transport, enabled)
        self._activate()

    def _activate(self) -> None:
        self.device.activate(self.driver)
        for ring in self.rings.values():
            ring.engine = None
            found = self.device.compiled(ring.device, ring.bell) if self.compiled else None
            assert bool(found) == self.compiled, "the device has no engine"
            if found is not None:
                ring.engine = found[1]

    def _lay_out(self, index: int, size: int) -> RigQueue:
        desc = self._take(16 * size, 64)
        avail = self._take(6 + 2 * size, 64)
        used = self._take(6 + 8 * size, 64)
        place = (self.window, size, desc, avail, used)
        device_side = DeviceQueue(*place, packed=self.packed, event_idx=self._event_idx, indirect=self.indirect)
        driver_side = DriverQueue(*place, packed=self.packed, event_idx=self._event_idx, indirect=self.indirect)

        def notify() -> None:
            self.rings[index].notifications += 1

        return RigQueue(Queue(index, device_side, notify), driver_side)

    def _take(self, length: int, alignment: int = 64) -> int:
        offset = -(-self._next // alignment) * alignment
        self._next = offset + length
        assert self._next <= self.window.length, "the rig's window is too small for this test"
        return offset

    def post(
        self,
        queue: int,
        readable: bytes | Iterable[bytes] = b"",
        writable: int | Iterable[int] = (),
        *,
        indirect: bool = False,
    ) -> Request:
        """Make one chain available: each element of ``readable`` and ``writable`` becomes a descriptor of its own."""
        if not any(ring.outstanding for ring in self.rings.values()):
            self._next = self._buffers
        parts = [readable] if isinstance(readable, bytes) else list(readable)
        rooms = [writable] if isinstance(writable, int) else list(writable)
        request = Request(queue, [], [])
        for part in parts:
            if part:
                request.readable.append((self._take(len(part)), len(part)))
                self.window.write(request.readable[-1][0], part)
        for room in rooms:
            if room:
                request.writable.append((self._take(room), room))
                self.window.write(request.writable[-1][0], b"\xee" * room)
        ring = self.rings[queue]
        table = self._take(16 * (len(request.readable) + len(request.writable)), 16) if indirect else None
        ring.driver.add(request.readable, request.writable, request, table)
        ring.driver.publish()
        ring.outstanding.append(request)
        return request

    def kick(self, queue: int) -> None:
        """What the transport does on a doorbell: handle, flush, and again where a bounded pass left chains waiting."""
        device_side, engine = self.rings[queue].device, self.rings[queue].engine
        if engine is not None:
            while engine.serve():
                engine.settle()
            self.rings[queue].notifications = self.rings[queue].bell.rung
            return
        while True:
            device_side.unfinished = False
            self.device.handle_queue(device_side)
            device_side.flush()
            if not device_side.unfinished:
                return

    def collect(self, queue: int) -> list[Request]:
        """Requests returned since the last look, oldest first, with ``written`` and ``data`` filled in."""
        ring = self.rings[queue]
        returned = []
        while (used := ring.driver.get()) is not None:
            request, written = used
            assert isinstance(request, Request)
            ring.outstanding.remove(request)
            request.written = written
            request.data = b"".join(self.window.read(offset, length) for offset, length in request.writable)
            request.done = True
            returned.append(request)
        return returned

    def request(
        self,
        queue: int,
        readable: bytes | Iterable[bytes] = b"",
        writable: int | Iterable[int] = (),
        *,
        indirect: bool = False,
    ) -> Request:
        """Post one chain, kick, and insist that it comes back at once. ``data`` is all of the writable part."""
        request = self.post(queue, readable, writable, indirect=indirect)
        self.kick(queue)
        self.collect(queue)
        assert request.done, "the device kept the request"
        return request

    def run_until(self, condition: Callable[[], object], timeout: float = 60.0) -> None:
        """Turn the event loop until ``condition`` holds."""
        deadline = time.monotonic() + timeout

        async def wait() -> None:
            while not condition():
                assert time.monotonic() < deadline, "the condition did not come true"
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(wait())

    def wait_for(self, queue: int, count: int = 1) -> list[Request]:
        """Turn the event loop until the device has returned ``count`` requests of a queue."""
        returned: list[Request] = []

        def enough() -> bool:
            returned.extend(self.collect(queue))
            return len(returned) >= count

        self.run_until(enough)
        return returned

    def run_for(self, seconds: float) -> None:
        """Turn the event loop for a while, for tests that nothing happens."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def renew_queue(self, index: int) -> None:
        """The driver resets one queue and enables it again (virtio 1.4, 2.6.1); the others stay."""
        self._renew([index])

    def renew_all(self) -> None:
        """The driver resets the device and sets it up again."""
        self._renew(list(self.rings))

    def _renew(self, indices: list[int]) -> None:
        for index in indices:
            self.rings[index] = self._lay_out(index, self.rings[index].device.size)
        self._buffers = self._next
        self.driver.queues = [self.rings[i].device if i in self.rings else None for i in range(len(self.driver.queues))]
        self.device.deactivate()
        self._activate()

    def reset(self) -> None:
        """The driver resets the device; its rings are gone."""
        self.device.deactivate()
        self.rings.clear()

    def close(self) -> None:
        """Reset, give back the host resources, unmap. Fails if the device still holds a view of the window."""
        self.reset()
        self.device.close()
        self.loop.close()
        self.driver.queues = ()
        self.window.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        self.device.close()
        self.loop.close()
