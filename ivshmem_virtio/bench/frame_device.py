# SPDX-License-Identifier: MIT
"""A network device that nothing lies behind: it takes what it is sent, and fills every buffer it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ivshmem_virtio.bench.generator import FrameEngine
from ivshmem_virtio.bench.loaded_port import QUEUE_SIZE, TRANSMIT
from ivshmem_virtio.core import Bell, Engine, PlaneWorker
from ivshmem_virtio.devices.device import Device, DriverHandle
from ivshmem_virtio.transport.queue import Queue

KIND = "ivshmem_virtio.bench.frame_device:FrameDevice"
"""What a configuration calls it."""


class FrameDevice(Device):
    """Both queues are served on one compiled worker. ``frame``: bytes of the frames it sends."""

    device_id: ClassVar[int] = 1

    def __init__(self, name: str, *, window: int, frame: int) -> None:
        super().__init__(name)
        self._frame = frame
        self._worker: PlaneWorker | None = None

    @property
    def queue_sizes(self) -> Sequence[int]:
        return (QUEUE_SIZE, QUEUE_SIZE)

    def activate(self, driver: DriverHandle) -> None:
        """Engines are made for each driver anew."""

    def deactivate(self) -> None:
        """Nothing is kept of a driver."""

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        if self._worker is None:
            self._worker = PlaneWorker(self.name)
            self._worker.start()
        return self._worker, FrameEngine(queue.ring, bell, source=queue.index != TRANSMIT, frame=self._frame)

    def handle_queue(self, queue: Queue) -> None:
        """A load has eventfds, so no queue is ever served here."""
