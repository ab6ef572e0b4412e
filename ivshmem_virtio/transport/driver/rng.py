# SPDX-License-Identifier: MIT
"""An entropy device from the driver's side (virtio 1.4, 5.4)."""

from __future__ import annotations

from ivshmem_virtio.transport.driver.errors import RequestFailed
from ivshmem_virtio.transport.driver.transport import DriverTransport

RNG_DEVICE_ID = 4
LARGEST_REQUEST = 4096


class RngDriver:
    """Drives an entropy device over a transport that was brought up."""

    def __init__(self, transport: DriverTransport, *, queue_size: int | None = None, host_placed: bool = True) -> None:
        self.transport = transport
        self.features = transport.negotiate()
        self.queue = transport.setup_queue(0, size=queue_size, host_placed=host_placed)
        transport.ready()

    def read(self, count: int) -> bytes:
        """``count`` random bytes; raises RequestFailed for an empty answer, and as ``DriverTransport.wait``."""
        data = bytearray()
        while len(data) < count:
            request = self.queue.submit([], [min(count - len(data), LARGEST_REQUEST)])
            self.transport.complete(self.queue, request)
            if not request.data:
                raise RequestFailed("device returned an entropy buffer with nothing in it (virtio 1.4, 5.4.6.2)")
            data += request.data
        return bytes(data)
