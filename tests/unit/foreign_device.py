# SPDX-License-Identifier: MIT
"""A device of somebody else, for ``type = "tests.unit.foreign_device:Echo"``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ivshmem_virtio.devices.device import Device, DriverHandle
from ivshmem_virtio.transport.queue import Queue


class Echo(Device):
    """Gives every chain back with what it holds."""

    device_id: ClassVar[int] = 42

    def __init__(self, name: str, *, depth: int, window: int) -> None:
        super().__init__(name)
        self._depth = depth
        self.window = window

    @property
    def queue_sizes(self) -> Sequence[int]:
        return [self._depth]

    @property
    def config(self) -> bytes:
        return self._depth.to_bytes(4, "little")

    def activate(self, driver: DriverHandle) -> None:
        """Nothing to prepare."""

    def deactivate(self) -> None:
        """Nothing to forget."""

    def handle_queue(self, queue: Queue) -> None:
        while (chain := queue.pop()) is not None:
            queue.push(chain, chain.write(0, chain.read(0, chain.readable_length)))


class Broken(Echo):
    """Fails when it is made."""

    def __init__(self, name: str, *, window: int) -> None:
        raise RuntimeError(f"cannot make {name}")


class NoDevice:
    """Not a device."""
