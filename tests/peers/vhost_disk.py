# SPDX-License-Identifier: MIT
"""A disk image behind a stock qemu-storage-daemon, and a driver of it in Python that can also do what no driver may."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ivshmem_virtio.bench.child import Child
from ivshmem_virtio.bench.storage_daemon import file_node, storage_daemon
from ivshmem_virtio.core import DriverQueue, Window
from ivshmem_virtio.link.layout import SplitPlacement
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.vhost_user.front_end import FrontEnd
from ivshmem_virtio.vhost_user.shared_slice import SharedSlice
from ivshmem_virtio.vhost_user.vring import RingPlace

PATIENCE = 60.0
REGION = 4 << 20
WINDOW_START = 1 << 20
"""The daemon gets a slice in the middle of the region, as it would get a link's window."""
WINDOW = 2 << 20
SIZE = 64
HEADER, STATUS, DATA = 0x10000, 0x11000, 0x20000
READ, WRITE = 0, 1
IMAGE = bytes(range(256)) * 4096
"""1 MiB in which each sector differs from the next by position only within 256 bytes: tests write their own marks."""


@contextmanager
def image_daemon(folder: Path) -> Iterator[Child]:
    """The daemon on a new image; its socket is ``SOCKET`` in the folder."""
    (folder / "disk.img").write_bytes(IMAGE)
    with storage_daemon(folder, file_node(folder / "disk.img"), polls=True) as daemon:
        yield daemon


class VhostDisk:
    """Memory, front-end and one queue. ``place`` moves the ring."""

    def __init__(self, socket: Path) -> None:
        self.memory = os.memfd_create("vhost-test", os.MFD_CLOEXEC)
        os.truncate(self.memory, REGION)
        self.window = Window(self.memory, WINDOW_START, WINDOW)
        self.slice = SharedSlice(self.memory, WINDOW_START, WINDOW)
        self.front_end = FrontEnd.connect(socket, self.slice, seconds=PATIENCE)

    def start(self) -> None:
        """Bring queue 0 up."""
        self.front_end.negotiate(Feature.EVENT_IDX | Feature.ACCESS_PLATFORM)
        place = SplitPlacement.at(0, SIZE)
        self.ring = DriverQueue(
            self.window, SIZE, place.desc, place.driver, place.device, event_idx=True, indirect=False
        )
        self.vring = self.front_end.start_vring(0, RingPlace(SIZE, place.desc, place.driver, place.device))
        os.eventfd_write(self.vring.kick, 1)

    def transfer(self, kind: int, sector: int, data: bytes | int) -> bytes:
        """Read so many bytes, or write these; what was read."""
        self.window.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
        self.window.write(STATUS, b"\xff")
        if isinstance(data, bytes):
            self.window.write(DATA, data)
            self.submit([(HEADER, 16), (DATA, len(data))], [(STATUS, 1)])
        else:
            self.submit([(HEADER, 16)], [(DATA, data), (STATUS, 1)])
        self.await_return()
        assert self.window.load8(STATUS) == 0, f"the daemon answered with status {self.window.load8(STATUS)}"
        return b"" if isinstance(data, bytes) else self.window.read(DATA, data)

    def submit(self, readable: Sequence[tuple[int, int]], writable: Sequence[tuple[int, int]]) -> None:
        """Make a chain available and kick."""
        self.ring.add(readable, writable, None)
        self.ring.publish()
        os.eventfd_write(self.vring.kick, 1)

    def await_return(self) -> None:
        """Sleep until a chain is back."""
        while self.ring.get() is None:
            if self.ring.enable_callbacks():
                continue
            poller = select.poll()
            poller.register(self.vring.call, select.POLLIN)
            assert poller.poll(PATIENCE * 1000), "the daemon did not return the request"
            os.eventfd_read(self.vring.call)

    def await_end(self) -> None:
        """Sleep until the daemon has hung up."""
        poller = select.poll()
        poller.register(self.front_end, select.POLLIN)
        assert poller.poll(PATIENCE * 1000), "the daemon did not close the connection"

    def close(self) -> None:
        self.front_end.close()
        self.window.close()
        os.close(self.memory)
