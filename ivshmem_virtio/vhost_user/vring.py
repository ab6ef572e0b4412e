# SPDX-License-Identifier: MIT
"""One queue of a daemon's: where its ring lies, and the three eventfds it has of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class RingPlace:
    """Offsets in the slice of the three parts of a ring, and their lengths in bytes.

    Split: descriptor table, available ring, used ring. Packed: descriptor ring, driver and device event structure.
    """

    size: int
    desc: int
    driver: int
    device: int
    packed: bool = False

    @property
    def parts(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Offset and length of each (virtio 1.4, 2.7 and 2.8)."""
        driver, device = (4, 4) if self.packed else (6 + 2 * self.size, 6 + 8 * self.size)
        return (self.desc, 16 * self.size), (self.driver, driver), (self.device, device)


class Vring:
    """Eventfds of one queue. A kick eventfd of its own is a must: daemons drain it per queue."""

    def __init__(self, index: int, place: RingPlace) -> None:
        self.index = index
        self.place = place
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Write to it: the driver made buffers available."""
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable: the device returned buffers."""
        self.error = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable: the device found an error in the ring."""

    def failed(self) -> bool:
        """Whether the daemon signalled an error since the last look."""
        try:
            os.eventfd_read(self.error)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close the eventfds; the daemon has its own duplicates."""
        for descriptor in (self.kick, self.call, self.error):
            os.close(descriptor)
