# SPDX-License-Identifier: MIT
"""The two sides of the wall between a transport and the device it serves, as each sees the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from ivshmem_virtio.core import Bell, Engine, PlaneWorker
from ivshmem_virtio.transport.queue import Queue


class DriverHandle(Protocol):
    """The driver a device works for, from DRIVER_OK until reset."""

    @property
    def features(self) -> int:
        """Feature bits the driver accepted, transport bits included."""

    @property
    def queues(self) -> Sequence[Queue | None]:
        """By queue index; None where the driver has not enabled the queue."""

    def config_changed(self) -> None:
        """Publish the device's ``config`` anew and tell the driver (virtio 1.4, 2.5)."""


class ServedDevice(Protocol):
    """What a transport asks of a device; ``ivshmem_virtio.devices.device.Device`` says what each part means."""

    name: str

    @property
    def device_id(self) -> int:
        """Virtio device id."""

    @property
    def features(self) -> int:
        """Device-specific feature bits offered."""

    @property
    def packed(self) -> bool:
        """Whether packed rings are offered beside split ones (virtio 1.4, 2.8)."""

    @property
    def queue_sizes(self) -> Sequence[int]:
        """Largest size of each queue."""

    @property
    def seldom_rung(self) -> Collection[int]:
        """Queues that may share a doorbell with registers."""

    @property
    def config(self) -> bytes:
        """The configuration space."""

    @property
    def writable_config(self) -> Mapping[int, int]:
        """Offset and size of every field a driver may write."""

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver wrote such a field."""

    @property
    def resumable(self) -> bool:
        """Whether a successor can go on with this device."""

    @property
    def kept(self) -> int:
        """64 bits that a successor is to know."""

    def restore(self, kept: int) -> None:
        """Go on from what a predecessor kept; before ``activate``."""

    def activate(self, driver: DriverHandle) -> None:
        """DRIVER_OK."""

    def deactivate(self) -> None:
        """Reset."""

    def handle_queue(self, queue: Queue) -> None:
        """The driver may have made buffers available."""

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        """Who serves the queue instead of ``handle_queue``, from ``activate`` to ``deactivate``; None = nobody."""
