# SPDX-License-Identifier: MIT
"""What a virtio device is to the rest of the package: features, queues, configuration, and a handler for its queues."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ivshmem_virtio.core import Bell, Engine, PlaneWorker
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.transport.queue import Queue
from ivshmem_virtio.transport.served_device import DriverHandle

__all__ = ["Device", "DeviceError", "DriverHandle"]


class DeviceError(IvshmemVirtioError):
    """A host resource of a device (image, socket, terminal, interface) cannot be used as configured."""


class Device(ABC):
    """One virtio device.

    A device runs wholly on the event loop thread it was opened on. Nothing here may block, unless ``blocking`` is set.
    Requests that make no sense are answered as the device's chapter of virtio 1.4 says; broken chains never get here.
    """

    device_id: ClassVar[int]
    blocking: ClassVar[bool] = False
    """Whether ``handle_queue`` waits for the host (storage), so that the device needs a worker of its own."""
    writable_config: Mapping[int, int] = {}
    """Offset and size, in bytes, of every configuration field a driver may write."""

    packed = False
    """Whether packed rings are offered beside split ones (virtio 1.4, 2.8): the ``ring`` key of its table."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def features(self) -> int:
        """Device-specific feature bits offered (virtio 1.4, 2.2); the transport adds its own."""
        return 0

    @property
    @abstractmethod
    def queue_sizes(self) -> Sequence[int]:
        """Largest size, in descriptors, of each queue; powers of two."""

    @property
    def seldom_rung(self) -> Collection[int]:
        """Queues that may share a doorbell with registers where there are too few for all."""
        return ()

    @property
    def config(self) -> bytes:
        """The device configuration space as it is now; its length never changes."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:  # noqa: B027 - most devices have no writable field
        """The driver wrote a field named in ``writable_config``."""

    @property
    def resources(self) -> Sequence[Resource]:
        """Every path on the host that ``open``, and anything after it, opens: the process gives up all others."""
        return ()

    def prepare(self) -> None:  # noqa: B027 - most devices need nothing
        """Get what a confined process cannot get any more, for the device that will be opened with the same keys."""

    @property
    def identity(self) -> str:
        """Tells one host resource from another: only with the same one may a successor go on with the device."""
        return ""

    @property
    def resumable(self) -> bool:
        """Whether a successor of a killed process can go on with the device, all in flight being served again.

        False where more than ``kept`` would have to be known: then the driver meets a new device.
        """
        return True

    @property
    def kept(self) -> int:
        """64 bits of what the driver has set in the device, for a successor; looked at after each transaction."""
        return 0

    def restore(self, kept: int) -> None:  # noqa: B027 - most devices keep nothing
        """The opposite of ``kept``, in a successor, before ``activate``."""

    @property
    def kept_length(self) -> int:
        """Bytes of memory, beside ``kept``, that a successor is to find as they were left; never changes."""
        return 0

    def keep_in(self, memory: memoryview) -> None:  # noqa: B027 - most devices keep nothing
        """That memory: zeroes, or what a predecessor left there. Called once, after ``open`` and before ``activate``;
        not where the device will have no successor."""

    def open(self, loop: AbstractEventLoop) -> None:  # noqa: B027 - some devices need nothing of the host
        """Acquire what the device needs of the host; raises DeviceError."""

    def close(self) -> None:  # noqa: B027 - see open
        """Give back what ``open`` acquired."""

    @abstractmethod
    def activate(self, driver: DriverHandle) -> None:
        """DRIVER_OK: queues may be used from now on."""

    @abstractmethod
    def deactivate(self) -> None:
        """Reset: forget queues and chains at once; host resources stay."""

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        """An engine that serves the queue in the place of ``handle_queue``, interrupts the driver through ``bell``, and
        runs on that worker until just before ``deactivate``; None where the queue is served here. After ``activate``.
        """
        return None

    @abstractmethod
    def handle_queue(self, queue: Queue) -> None:
        """The driver may have made buffers available on this queue."""
