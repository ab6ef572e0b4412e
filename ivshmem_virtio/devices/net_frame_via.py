# SPDX-License-Identifier: MIT
"""A way out that takes one frame at a time, as a chain."""

from __future__ import annotations

from abc import abstractmethod
from asyncio import AbstractEventLoop

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.net_header import ETHERNET_HEADER, HEADER_SIZE, LONGEST_FRAME
from ivshmem_virtio.devices.net_via import Port, Via
from ivshmem_virtio.transport.queue import Queue


class FrameVia(Via):
    """``transmit`` for each frame, then ``flush``."""

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None
        self._port: Port | None = None

    def transmit_from(self, queue: Queue) -> None:
        assert self._port is not None
        counters = self._port.core.counters
        held = False
        for chain in queue.chains():
            length = chain.readable_length - HEADER_SIZE
            if not ETHERNET_HEADER <= length <= LONGEST_FRAME:
                counters.transmit_malformed += 1
            elif not self._port.core.link_up:
                counters.transmit_link_down += 1
            elif self.transmit(chain):
                counters.transmitted_frames += 1
                counters.transmitted_bytes += length
            queue.push(chain, 0)
            held = not self.ready
            if held:
                break
        # Sent before they are returned: a process that is killed in between has its successor send them again.
        self.flush()
        queue.flush()
        if held and self.ready and self._loop is not None:
            self._loop.call_soon(self._port.transmit_again)

    @abstractmethod
    def transmit(self, chain: Chain) -> bool:
        """Send the frame behind the header of ``chain``; False: dropped, and counted.

        The length has been checked. The chain is not used after the return.
        """

    def flush(self) -> None:
        """End of a batch of ``transmit``."""
