# SPDX-License-Identifier: MIT
"""A trivial device, which checks how its transport treats it, and fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from fuzz.unexpected import Planned
from ivshmem_virtio.devices.device import Device, DriverHandle
from ivshmem_virtio.transport.features import REQUIRED
from ivshmem_virtio.transport.queue import Queue

SIZES = (8, 4)
LONGEST_ANSWER = 4096
FAULT = 0xEE
"""The first byte of a request that this device cannot stand, and a number that it cannot begin with."""


class Echo(Device):
    """Answers with what it was asked; ``meanwhile`` is what the driver does while the device is at work."""

    device_id: ClassVar[int] = 42
    writable_config: Mapping[int, int] = {4: 4}

    def __init__(self, *, resumable: bool) -> None:
        super().__init__("echo")
        self.written = bytes(4)
        self.number = 0
        self.active = False
        self.can_resume = resumable
        self.meanwhile: Callable[[], None] | None = None

    @property
    def features(self) -> int:
        return 0b101

    @property
    def queue_sizes(self) -> Sequence[int]:
        return SIZES

    @property
    def config(self) -> bytes:
        return self.number.to_bytes(4, "little") + self.written + bytes(4)

    @property
    def resumable(self) -> bool:
        return self.can_resume

    @property
    def kept(self) -> int:
        return self.number

    def restore(self, kept: int) -> None:
        self.number = kept & 0xFFFFFFFF

    def write_config(self, offset: int, data: bytes) -> None:
        assert (offset, len(data)) == (4, 4)
        if data[0] == FAULT:
            raise Planned("this configuration")
        self.written = data
        self._interrupt()

    def activate(self, driver: DriverHandle) -> None:
        assert not self.active
        assert driver.features & REQUIRED == REQUIRED
        self.active = True
        if self.number == FAULT:
            raise Planned("this number")

    def deactivate(self) -> None:
        assert self.active
        self.active = False

    def handle_queue(self, queue: Queue) -> None:
        assert self.active
        self._interrupt()
        for chain in queue.chains():
            if chain.read(0, 1) == bytes([FAULT]):
                raise Planned("this request")
            queue.push(chain, chain.write(0, chain.read(0, LONGEST_ANSWER)))
            self._interrupt()
            if self.number & 0x80:
                break

    def _interrupt(self) -> None:
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()
