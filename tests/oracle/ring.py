# SPDX-License-Identifier: MIT
"""A ring that two sides have agreed on, and each side of it: ours and the kernel's."""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio.core import DeviceQueue, DriverQueue, Window

from .exchange_types import Exchange, LinuxDevice, LinuxDriver
from .places import AVAIL, DESC, RINGS, TABLES, TABLES_END, USED


@dataclass(frozen=True)
class Ring:
    """What the sides know of it. Where it is the kernel's driver that has placed it, the driver says where."""

    size: int = 8
    packed: bool = False
    indirect: bool = False
    event_idx: bool = False

    def __str__(self) -> str:
        layout = "packed" if self.packed else "split"
        return f"{layout}-{self.size}-{'in' if self.indirect else ''}direct-{'event' if self.event_idx else 'flags'}"

    def linux_driver(self, exchange: Exchange, window: Window) -> LinuxDriver:
        return exchange.LinuxDriver(
            window, self.size, packed=self.packed, indirect=self.indirect, event_idx=self.event_idx,
            rings=RINGS, tables=TABLES, end=TABLES_END,
        )  # fmt: skip

    def linux_device(self, exchange: Exchange, window: Window) -> LinuxDevice:
        """Of split rings: the kernel has no other."""
        assert not self.packed
        return exchange.LinuxDevice(window, self.size, DESC, AVAIL, USED, event_idx=self.event_idx)

    def our_driver(self, window: Window) -> DriverQueue:
        return DriverQueue(
            window, self.size, DESC, AVAIL, USED,
            packed=self.packed, event_idx=self.event_idx, indirect=self.indirect,
        )  # fmt: skip

    def our_device(self, window: Window, placed: LinuxDriver | None = None) -> DeviceQueue:
        places = (placed.desc, placed.avail, placed.used) if placed is not None else (DESC, AVAIL, USED)
        return DeviceQueue(
            window, self.size, *places,
            packed=self.packed, event_idx=self.event_idx, indirect=self.indirect, minimum=RINGS,
        )  # fmt: skip


def every_ring(*, packed: bool) -> list[Ring]:
    """All that there are of a layout."""
    return [
        Ring(size, packed, indirect, event_idx)
        for size in (8, 256)
        for indirect in (False, True)
        for event_idx in (False, True)
    ]
