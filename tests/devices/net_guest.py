# SPDX-License-Identifier: MIT
"""A guest's network driver on top of the driver rig: frames in, frames out."""

from __future__ import annotations

import struct
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from pathlib import Path

from ivshmem_virtio.core import NetCounters
from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_switch import Switch
from tests.devices.driver_rig import FIRST_RING, DriverRig, Request

WINDOW = 4 << 20
PLAIN = bytes(12)


def stream_net(path: Path | str, *, listen: bool = False, mtu: int | None = None, queue_size: int = 64) -> Net:
    """A device named eth0 behind a stream socket."""
    return Net("eth0", via={"stream": str(path), "listen": listen}, mtu=mtu, window=WINDOW, queue_size=queue_size)


class PortNet(Net):
    """A port of a switch: all of them live on one loop, whichever loop each rig brings along."""

    def __init__(self, name: str, mac: bytes, switch: Switch, loop: AbstractEventLoop) -> None:
        super().__init__(
            name, via={"switch": switch.name}, mac=mac.hex(":"), window=WINDOW, queue_size=64, switch=switch
        )
        self._shared = loop

    def open(self, loop: AbstractEventLoop) -> None:
        super().open(self._shared)


class NetGuest(DriverRig):
    """The driver of one net device."""

    def give_buffers(self, count: int, size: int = 2048, *, pair: int = 0) -> list[Request]:
        """Offer ``count`` receive buffers of ``size`` bytes, header included."""
        posted = [self.post(2 * pair, b"", size) for _ in range(count)]
        self.kick(2 * pair)
        return posted

    def send(self, frame: bytes | Iterable[bytes], header: bytes = PLAIN) -> Request:
        """Transmit a frame, in as many descriptors as it comes in parts, and insist on the buffer's return."""
        parts = [frame] if isinstance(frame, bytes) else list(frame)
        return self.request(1, [header, *parts])

    def received(self, pair: int = 0) -> list[tuple[bytes, bytes]]:
        """Header and contents of each frame that has arrived, put together from its buffers."""
        frames = []
        returned = iter(self.collect(2 * pair))
        for first in returned:
            header, contents = first.data[:12], first.data[12 : first.written]
            (buffers,) = struct.unpack_from("<H", header, 10)
            for _ in range(buffers - 1):
                following = next(returned)
                contents += following.data[: following.written]
            frames.append((header, contents))
        return frames

    def wait_for_frame(self, wanted: Callable[[bytes], bool] = lambda frame: True) -> tuple[bytes, bytes]:
        """The first frame that is ``wanted``; others are ignored."""
        found: list[tuple[bytes, bytes]] = []

        def look() -> bool:
            found.extend(pair for pair in self.received() if wanted(pair[1]))
            return bool(found)

        self.run_until(look)
        return found[0]

    def corrupt_receive_ring(self) -> None:
        """Let all descriptors of the receive queue, which the rig lays out first, point outside the window."""
        for place in range(FIRST_RING, FIRST_RING + 16 * self.device.queue_sizes[0], 16):
            self.window.store64(place, 1 << 40)

    @property
    def counters(self) -> NetCounters:
        """What became of the frames, as the device has counted."""
        assert isinstance(self.device, Net)
        return self.device.counters

    @property
    def link_is_up(self) -> bool:
        """The status bit as the driver reads it."""
        return bool(self.device.config[6] & 1)
