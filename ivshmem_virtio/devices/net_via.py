# SPDX-License-Identifier: MIT
"""What lies between a network device and the host: where frames of the guest go, and where frames for it come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.device import DeviceError
from ivshmem_virtio.devices.resource import Resource


class ViaError(DeviceError):
    """The ``via`` of a network device cannot be used as configured."""


@dataclass
class NetCounters:
    """What became of the frames of one device; transmit and receive as the guest sees them."""

    transmitted_frames: int = 0
    transmitted_bytes: int = 0
    transmit_malformed: int = 0
    transmit_link_down: int = 0
    transmit_refused: int = 0
    received_frames: int = 0
    received_bytes: int = 0
    receive_malformed: int = 0
    receive_too_long: int = 0
    receive_inactive: int = 0
    receive_no_buffer: int = 0
    receive_waits: int = 0
    connection_losses: int = 0

    def as_dict(self) -> dict[str, int]:
        """For the inspector."""
        return asdict(self)


Piece = bytes | memoryview
"""Part of a frame; a memoryview may lie in a window."""


class Port(Protocol):
    """The network device as its via sees it."""

    name: str
    mac: bytes
    counters: NetCounters

    def deliver(self, header: bytes, frame: Sequence[Piece], length: int) -> bool:
        """Give a frame of ``length`` bytes to the guest.

        True: done with, delivered or dropped. False: no room for it now; ``resume`` is called once there may be.
        """

    def flush(self) -> None:
        """Tell the driver of the frames delivered."""

    def link_changed(self, up: bool) -> None:
        """The link came up or went down."""

    def transmit_again(self) -> None:
        """``ready`` has become true."""


class Via(ABC):
    """One way out. Everything happens on the loop given to ``open``; nothing blocks."""

    offloads: int = 0
    """Feature bits this way adds to what the device offers (virtio 1.4, 5.1.3)."""

    @property
    def ready(self) -> bool:
        """Whether ``transmit`` may be called; frames stay in the guest's ring meanwhile."""
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

    def set_features(self, accepted: int) -> None:  # noqa: B027 - most ways carry plain frames only
        """The feature bits the driver accepted; 0 after a reset."""

    @abstractmethod
    def transmit(self, chain: Chain) -> bool:
        """Send the frame behind the header of ``chain``; False: dropped, and counted.

        The length has been checked. The chain is not used after the return.
        """

    def flush(self) -> None:  # noqa: B027 - where transmit sends at once nothing is left to do
        """End of a batch of ``transmit``."""

    def resume(self) -> None:  # noqa: B027 - where deliver's answer is not waited for nothing is left to do
        """The guest has buffers again, after ``deliver`` answered False."""
