# SPDX-License-Identifier: MIT
"""A network device from the driver's side (virtio 1.4, 5.1): one queue pair or several, no offloads."""

from __future__ import annotations

import struct

from ivshmem_virtio.transport.driver.errors import RequestFailed, RequestTimedOut
from ivshmem_virtio.transport.driver.transport import DriverTransport

NET_DEVICE_ID = 1
RECEIVE_QUEUE = 0
TRANSMIT_QUEUE = 1
NET_HEADER = 12
"""struct virtio_net_hdr with num_buffers, which VERSION_1 always has (virtio 1.4, 5.1.6)."""
LARGEST_FRAME = 1518
FEATURE_MAC = 1 << 5
FEATURE_CTRL_VQ = 1 << 17
FEATURE_MQ = 1 << 22
MAX_PAIRS_OFFSET = 8
CTRL_MQ = 4
VQ_PAIRS_SET = 0
CTRL_OK = 0
RECEIVE_BUFFERS = 64


class NetDriver:
    """Drives a network device over a transport that was brought up; keeps up to 64 receive buffers with each pair.

    ``pairs`` above 1 sets up as many, and a control queue; only the first receives until ``set_pairs`` says otherwise.
    Raises RequestFailed where the device has fewer, and what the transport raises.
    """

    def __init__(
        self,
        transport: DriverTransport,
        *,
        queue_size: int | None = None,
        host_placed: bool = True,
        pairs: int = 1,
    ) -> None:
        self.transport = transport
        self.features = transport.negotiate(FEATURE_MAC | (FEATURE_CTRL_VQ | FEATURE_MQ if pairs > 1 else 0))
        self.most_pairs = 1
        if self.features & FEATURE_MQ:
            (self.most_pairs,) = struct.unpack("<H", transport.read_config(MAX_PAIRS_OFFSET, 2))
        if pairs > self.most_pairs:
            raise RequestFailed(f"{pairs} queue pairs are wanted, and the device has {self.most_pairs}")
        queues = [transport.setup_queue(index, size=queue_size, host_placed=host_placed) for index in range(2 * pairs)]
        self.receiveqs, self.transmitqs = queues[RECEIVE_QUEUE::2], queues[TRANSMIT_QUEUE::2]
        self.controlq = transport.setup_queue(2 * self.most_pairs, host_placed=host_placed) if pairs > 1 else None
        self.mac = transport.read_config(0, 6) if self.features & FEATURE_MAC else bytes(6)
        transport.ready()
        for pair in range(pairs):
            self._refill(pair)

    def set_pairs(self, count: int) -> None:
        """Use so many pairs from now on; raises RequestFailed where the device will not."""
        if self.controlq is None:
            raise RequestFailed("there is no control queue: the driver was set up for one queue pair")
        command = self.controlq.submit([struct.pack("<BBH", CTRL_MQ, VQ_PAIRS_SET, count)], [1])
        done = self.transport.complete(self.controlq, command)
        if done.data != bytes([CTRL_OK]):
            raise RequestFailed(f"the device answers {done.data.hex() or 'nothing'} to {count} queue pairs")

    def _refill(self, pair: int) -> None:
        queue = self.receiveqs[pair]
        room = min(RECEIVE_BUFFERS, queue.size)
        while queue.outstanding < room:
            queue.submit([], [NET_HEADER + LARGEST_FRAME])
        queue.kick()

    def send(self, frame: bytes, *, pair: int = 0) -> None:
        """Send one Ethernet frame and wait until the device has taken it; raises as ``DriverTransport.wait``."""
        queue = self.transmitqs[pair]
        self.transport.complete(queue, queue.submit([bytes(NET_HEADER) + frame], []))

    def receive(self, seconds: float | None = None, *, pair: int = 0) -> list[bytes]:
        """Frames that arrived, waiting up to ``seconds`` for one; raises RequestFailed for one without header."""
        try:
            returned = self.transport.wait(self.receiveqs[pair], seconds)
        except RequestTimedOut:
            return []
        self._refill(pair)
        frames = [request.data for request in returned]
        for frame in frames:
            if len(frame) < NET_HEADER:
                raise RequestFailed(f"device returned a receive buffer of {len(frame)} bytes, shorter than its header")
        return [frame[NET_HEADER:] for frame in frames]
