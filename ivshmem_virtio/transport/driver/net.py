# SPDX-License-Identifier: MIT
"""A network device from the driver's side (virtio 1.4, 5.1): one queue pair, no offloads."""

from __future__ import annotations

from ivshmem_virtio.transport.driver.errors import RequestFailed, RequestTimedOut
from ivshmem_virtio.transport.driver.transport import DriverTransport

NET_DEVICE_ID = 1
RECEIVE_QUEUE = 0
TRANSMIT_QUEUE = 1
NET_HEADER = 12
"""struct virtio_net_hdr with num_buffers, which VERSION_1 always has (virtio 1.4, 5.1.6)."""
LARGEST_FRAME = 1518
FEATURE_MAC = 1 << 5
RECEIVE_BUFFERS = 64


class NetDriver:
    """Drives a network device over a transport that was brought up; keeps up to 64 receive buffers with the device."""

    def __init__(self, transport: DriverTransport, *, queue_size: int | None = None, host_placed: bool = True) -> None:
        self.transport = transport
        self.features = transport.negotiate(FEATURE_MAC)
        self.receiveq = transport.setup_queue(RECEIVE_QUEUE, size=queue_size, host_placed=host_placed)
        self.transmitq = transport.setup_queue(TRANSMIT_QUEUE, size=queue_size, host_placed=host_placed)
        self.mac = transport.read_config(0, 6) if self.features & FEATURE_MAC else bytes(6)
        transport.ready()
        self._refill()

    def _refill(self) -> None:
        room = min(RECEIVE_BUFFERS, self.receiveq.size)
        while self.receiveq.outstanding < room:
            self.receiveq.submit([], [NET_HEADER + LARGEST_FRAME])
        self.receiveq.kick()

    def send(self, frame: bytes) -> None:
        """Send one Ethernet frame and wait until the device has taken it; raises as ``DriverTransport.wait``."""
        self.transport.complete(self.transmitq, self.transmitq.submit([bytes(NET_HEADER) + frame], []))

    def receive(self, seconds: float | None = None) -> list[bytes]:
        """Frames that arrived, waiting up to ``seconds`` for one; raises RequestFailed for one without header."""
        try:
            returned = self.transport.wait(self.receiveq, seconds)
        except RequestTimedOut:
            return []
        self._refill()
        frames = [request.data for request in returned]
        for frame in frames:
            if len(frame) < NET_HEADER:
                raise RequestFailed(f"device returned a receive buffer of {len(frame)} bytes, shorter than its header")
        return [frame[NET_HEADER:] for frame in frames]
