# SPDX-License-Identifier: MIT
"""A block device from the driver's side (virtio 1.4, 5.2): enough to read, write, flush and load it."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

from ivshmem_virtio.transport.driver.errors import RequestFailed, SectorOutOfRange
from ivshmem_virtio.transport.driver.queue import DriverVirtqueue, Request
from ivshmem_virtio.transport.driver.transport import DriverTransport

BLK_DEVICE_ID = 2
SECTOR = 512
LARGEST_REQUEST = 128 * 1024
ID_LENGTH = 20
REQUEST_HEADER = struct.Struct("<IIQ")


class BlkFeature(IntFlag):
    """Feature bits used here (virtio 1.4, 5.2.3)."""

    SIZE_MAX = 1 << 1
    SEG_MAX = 1 << 2
    RO = 1 << 5
    BLK_SIZE = 1 << 6
    FLUSH = 1 << 9
    MQ = 1 << 12


class BlkType(IntEnum):
    """Request types (virtio 1.4, 5.2.6)."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8


STATUS_NAMES = {0: "OK", 1: "IOERR", 2: "UNSUPP"}
WANTED = (
    BlkFeature.SIZE_MAX | BlkFeature.SEG_MAX | BlkFeature.RO | BlkFeature.BLK_SIZE | BlkFeature.FLUSH | BlkFeature.MQ
)


class BlkDriver:
    """Drives a block device over a transport that was brought up. Sectors are 512 bytes.

    ``queue_size`` and ``host_placed`` as for ``DriverTransport.setup_queue``. Every request raises RequestFailed when
    the device answers with an error status, and what ``DriverTransport.wait`` raises.
    """

    def __init__(
        self, transport: DriverTransport, *, queues: int = 1, queue_size: int | None = None, host_placed: bool = True
    ) -> None:
        self.transport = transport
        self.features = transport.negotiate(WANTED)
        self.queues = [transport.setup_queue(i, size=queue_size, host_placed=host_placed) for i in range(queues)]
        self.capacity = int.from_bytes(transport.read_config(0, 8), "little")
        """Sectors."""
        self._segment, self._segments = self._limits()
        self._largest = self._largest_request()
        transport.ready()

    def _limits(self) -> tuple[int, int]:
        """Bytes of one data segment, and how many a request may have (virtio 1.4, 5.2.4); without a word on it, one."""
        size, count = LARGEST_REQUEST, 1
        if self.features & BlkFeature.SIZE_MAX:
            size = int.from_bytes(self.transport.read_config(8, 4), "little")
        if self.features & BlkFeature.SEG_MAX:
            count = int.from_bytes(self.transport.read_config(12, 4), "little")
        descriptors = min(queue.size for queue in self.queues) - 2
        return max(size // SECTOR, 1) * SECTOR, max(1, min(count, descriptors))

    def _largest_request(self) -> int:
        """Bytes of data in one request: bounded by its segments and an eighth of the window."""
        most = min(LARGEST_REQUEST, self.transport.link.window.length // 8, self._segment * self._segments)
        return max(most // SECTOR, 1) * SECTOR

    def _pieces(self, length: int) -> list[tuple[int, int]]:
        """Start and end of each data segment of a request."""
        return [(start, min(start + self._segment, length)) for start in range(0, length, self._segment)]

    @property
    def read_only(self) -> bool:
        """Whether the device refuses writes."""
        return bool(self.features & BlkFeature.RO)

    def read(self, sector: int, count: int) -> bytes:
        """``count`` sectors from ``sector`` on; raises SectorOutOfRange."""
        self._check(sector, count)
        data = bytearray()
        step = self._largest // SECTOR
        for first in range(sector, sector + count, step):
            request = self.submit_read(first, min(step, sector + count - first))
            data += self.finish(request)
        return bytes(data)

    def write(self, sector: int, data: bytes) -> None:
        """Whole sectors from ``sector`` on; raises SectorOutOfRange."""
        if len(data) % SECTOR:
            raise SectorOutOfRange(f"{len(data)} bytes are not a whole number of sectors of {SECTOR} bytes")
        self._check(sector, len(data) // SECTOR)
        for start in range(0, len(data), self._largest):
            part = data[start : start + self._largest]
            self.finish(self.submit_write(sector + start // SECTOR, part))

    def flush(self) -> None:
        """Make what was written durable."""
        self.finish(self.submit(BlkType.FLUSH, 0, b"", 0))

    def identity(self) -> str:
        """The device's serial number, up to 20 characters."""
        text = self.finish(self.submit(BlkType.GET_ID, 0, b"", ID_LENGTH))
        return text.split(b"\0", 1)[0].decode("utf-8", "replace")

    def submit_read(self, sector: int, count: int, queue: int = 0) -> Request:
        """Queue a read without waiting; ``finish`` gives its data."""
        return self.submit(BlkType.IN, sector, b"", count * SECTOR, queue)

    def submit_write(self, sector: int, data: bytes, queue: int = 0) -> Request:
        """Queue a write without waiting."""
        return self.submit(BlkType.OUT, sector, data, 0, queue)

    def submit(self, kind: int, sector: int, data: bytes, room: int, queue: int = 0) -> Request:
        """Queue any request: header, ``data`` for the device, ``room`` bytes from it, status byte."""
        readable = [REQUEST_HEADER.pack(kind, 0, sector), *(data[a:b] for a, b in self._pieces(len(data)))]
        return self.queues[queue].submit(readable, [*(b - a for a, b in self._pieces(room)), 1])

    def finish(self, request: Request, queue: int = 0) -> bytes:
        """Wait for a request and return what it read."""
        done = self.transport.complete(self.queues[queue], request)
        # Status and data stand where the request put them, whatever length the device reports.
        status = done.buffers[-1][0]
        if status != 0:
            raise RequestFailed(
                f"device answered a block request with status {status} ({STATUS_NAMES.get(status, '?')})"
            )
        return b"".join(done.buffers[:-1])

    def collect(self, queue: int = 0) -> list[Request]:
        """Requests that came back by now, for callers that keep many in flight."""
        ring: DriverVirtqueue = self.queues[queue]
        ring.kick()
        return self.transport.wait(ring)

    def _check(self, sector: int, count: int) -> None:
        if sector < 0 or count < 1 or sector + count > self.capacity:
            raise SectorOutOfRange(f"sectors {sector} to {sector + count - 1} of a disk that has {self.capacity}")
