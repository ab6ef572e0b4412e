# SPDX-License-Identifier: MIT
"""What lies between a network device and the host: where frames of the guest go, and where frames for it come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Protocol

from ivshmem_virtio.core import Bell, Engine, NetPort, PlaneWorker
from ivshmem_virtio.devices.device import DeviceError
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.transport.queue import Queue


class ViaError(DeviceError):
    """The ``via`` of a network device cannot be used as configured."""


class Port(Protocol):
    """The network device as its via sees it."""

    name: str
    mac: bytes
    core: NetPort
    """Both rings, what was negotiated, and the counters, for compiled code."""

    def link_changed(self, up: bool) -> None:
        """The link came up or went down."""

    def transmit_again(self) -> None:
        """``ready`` has become true."""


class Via(ABC):
    """One way out. Everything happens on the loop given to ``open``; nothing blocks."""

    offloads: int = 0
    """Feature bits this way adds to what the device offers (virtio 1.4, 5.1.3)."""
    threaded: bool = False
    """Whether frames come from queues of other devices, on a worker: then none is delivered before the receive queue is
    served. Whatever the way, ``core`` is only changed ``aside``."""

    @property
    def ready(self) -> bool:
        """Whether ``transmit_from`` may be called; frames stay in the guest's ring meanwhile."""
        return True

    @property
    def resources(self) -> Sequence[Resource]:
        """Every path on the host that it opens."""
        return ()

    @abstractmethod
    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        """Acquire the host's side; raises ViaError."""

    @abstractmethod
    def close(self) -> None:
        """Give it back."""

    def set_features(self, accepted: int) -> None:  # noqa: B027 - most ways need not tell the host
        """The feature bits the driver accepted; 0 after a reset."""

    @abstractmethod
    def transmit_from(self, queue: Queue) -> None:
        """Send what waits in the transmit queue, but no more than a turn of its worker allows: where more waits then,
        ``queue.unfinished`` is set. Raises what a broken ring raises."""

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        """Who serves a queue of the port in the place of ``transmit_from`` and ``resume``; None = nobody."""
        return None

    def aside(self, change: Callable[[], None]) -> None:
        """Change something while no worker is at work."""
        change()

    def steer(self, on: bool) -> None:  # noqa: B027 - a way with a single queue pair has no choice
        """Whether frames for the guest may come to this port, where its device has more than one."""

    def resume(self) -> None:  # noqa: B027 - where a frame without a buffer is dropped nothing waits
        """The guest has receive buffers again."""
