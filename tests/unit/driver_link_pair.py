# SPDX-License-Identifier: MIT
"""Both ends of one link on a memory file, with real eventfds, and devices simple enough to be seen through."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

from ivshmem_virtio.devices.device import Device, DriverHandle
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, PAGE_SIZE, Capability, LinkLayout
from ivshmem_virtio.peer.doorbells import Doorbells
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.transport.device import DeviceTransport
from ivshmem_virtio.transport.driver.transport import EVERYTHING, DriverTransport
from ivshmem_virtio.transport.queue import Queue

OFFSET = 2 * PAGE_SIZE
BACKEND_ID = 7
FRONTEND_ID = 11


class LinkPair:
    """A region with one link, its two ends mapped here. ``vectors``: how many each side has."""

    def __init__(self, window: int = 1 << 18, vectors: int = 4, device_id: int = 42) -> None:
        self.memory = os.memfd_create("link-pair")
        os.ftruncate(self.memory, OFFSET + PAGE_SIZE + window)
        self.layout = LinkLayout("pair", device_id, OFFSET, window, 0, vectors, 0, vectors, BACKEND_ID)
        self.backend_vectors = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(vectors)]
        self.frontend_vectors = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(vectors)]
        self.backend = self._map(BACKEND, self.backend_vectors, self.frontend_vectors, FRONTEND_ID)
        self.frontend = self._map(FRONTEND, self.frontend_vectors, self.backend_vectors, BACKEND_ID)

    def _map(self, index: int, own: Sequence[int], other: Sequence[int], other_id: int) -> V1Link:
        return V1Link.map(self.memory, self.layout, index, own, Doorbells(other), lambda peer: peer == other_id)

    def close(self) -> None:
        """Unmap both ends and close all descriptors."""
        self.backend.close()
        self.frontend.close()
        for descriptor in (*self.backend_vectors, *self.frontend_vectors, self.memory):
            os.close(descriptor)


class Mirror(Device):
    """Answers every chain with what it read, reversed; its configuration counts the writes to it."""

    device_id: ClassVar[int] = 42
    writable_config: Mapping[int, int] = {4: 4}

    def __init__(self, queues: Sequence[int] = (16, 8)) -> None:
        super().__init__("mirror")
        self.sizes = tuple(queues)
        self.active: DriverHandle | None = None
        self.handled = 0
        self.hold = False
        self.number = 0
        self.written = b"\0\0\0\0"

    @property
    def features(self) -> int:
        return 0b101

    @property
    def queue_sizes(self) -> Sequence[int]:
        return self.sizes

    @property
    def config(self) -> bytes:
        return self.number.to_bytes(4, "little") + self.written + bytes(range(8))

    def write_config(self, offset: int, data: bytes) -> None:
        self.written = data
        self.number += 1

    def activate(self, driver: DriverHandle) -> None:
        assert self.active is None
        self.active = driver

    def deactivate(self) -> None:
        self.active = None

    def handle_queue(self, queue: Queue) -> None:
        if self.hold:
            return
        for chain in queue.chains():
            answer = chain.read(0, 4096)[::-1]
            queue.push(chain, chain.write(0, answer))
            self.handled += 1


class Bench:
    """A mirror behind a DeviceTransport, and a driver whose every pause is one look of the device."""

    def __init__(
        self,
        *,
        vectors: int = 4,
        window: int = 1 << 18,
        capabilities: Capability = EVERYTHING,
        queues: Sequence[int] = (16, 8),
        seconds: float = 30.0,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.pair = LinkPair(window, vectors)
        self.mirror = Mirror(queues)
        self.device = DeviceTransport(self.pair.backend, self.mirror, self.loop)
        self.driver = DriverTransport(
            self.pair.frontend, peer_id=FRONTEND_ID, capabilities=capabilities, seconds=seconds, pause=self.pause
        )
        self.running = False

    def start(self) -> None:
        """Let the back-end appear."""
        self.device.start()
        self.running = True

    def stop(self) -> None:
        """Let the back-end leave in good order."""
        self.device.stop()
        self.running = False

    def pause(self, _seconds: float) -> None:
        """What the driver does instead of sleeping."""
        if self.running:
            self.device.registers.beat()
            self.device.look()

    def bring_up(self, size: int | None = None, host_placed: bool = True) -> None:
        """A driver in operation on all queues."""
        self.driver.bring_up()
        self.bring_up_from_here(size, host_placed)

    def bring_up_from_here(self, size: int | None = None, host_placed: bool = True) -> None:
        """The part of it that follows the reset."""
        self.driver.negotiate(self.mirror.features)
        for index in range(len(self.mirror.sizes)):
            self.driver.setup_queue(index, size=size, host_placed=host_placed)
        self.driver.ready()

    def ask(self, text: bytes, queue: int = 0) -> bytes:
        """One request through the whole path."""
        ring = self.driver.queues[queue]
        request = ring.submit([text], [len(text)])
        return self.driver.complete(ring, request).data

    def close(self) -> None:
        """Everything away."""
        if self.running:
            self.stop()
        self.loop.close()
        self.pair.close()


@contextmanager
def bench(
    *,
    vectors: int = 4,
    capabilities: Capability = EVERYTHING,
    queues: Sequence[int] = (16, 8),
    started: bool = True,
    seconds: float = 30.0,
    window: int = 1 << 18,
) -> Iterator[Bench]:
    """A Bench that is closed at the end."""
    made = Bench(vectors=vectors, capabilities=capabilities, queues=queues, seconds=seconds, window=window)
    try:
        if started:
            made.start()
        yield made
    finally:
        made.close()
