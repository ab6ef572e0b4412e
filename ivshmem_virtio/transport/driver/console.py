# SPDX-License-Identifier: MIT
"""A console device from the driver's side (virtio 1.4, 5.3): port 0, no multiport."""

from __future__ import annotations

from ivshmem_virtio.transport.driver.errors import RequestTimedOut
from ivshmem_virtio.transport.driver.transport import DriverTransport

CONSOLE_DEVICE_ID = 3
RECEIVE_QUEUE = 0
TRANSMIT_QUEUE = 1
RECEIVE_BUFFER = 1024
RECEIVE_BUFFERS = 16


class ConsoleDriver:
    """Drives a console over a transport that was brought up; keeps up to 16 receive buffers with the device."""

    def __init__(self, transport: DriverTransport, *, queue_size: int | None = None, host_placed: bool = True) -> None:
        self.transport = transport
        self.features = transport.negotiate()
        self.receiveq = transport.setup_queue(RECEIVE_QUEUE, size=queue_size, host_placed=host_placed)
        self.transmitq = transport.setup_queue(TRANSMIT_QUEUE, size=queue_size, host_placed=host_placed)
        transport.ready()
        self._refill()

    def _refill(self) -> None:
        room = min(RECEIVE_BUFFERS, self.receiveq.size)
        while self.receiveq.outstanding < room:
            self.receiveq.submit([], [RECEIVE_BUFFER])
        self.receiveq.kick()

    def send(self, text: bytes) -> None:
        """Send bytes and wait until the device has taken them; raises what ``DriverTransport.wait`` raises."""
        for start in range(0, len(text), RECEIVE_BUFFER):
            request = self.transmitq.submit([text[start : start + RECEIVE_BUFFER]], [])
            self.transport.complete(self.transmitq, request)

    def receive(self, seconds: float | None = None) -> bytes:
        """What arrived, waiting up to ``seconds`` for it; empty when nothing did."""
        try:
            returned = self.transport.wait(self.receiveq, seconds)
        except RequestTimedOut:
            return b""
        self._refill()
        return b"".join(request.data for request in returned)
