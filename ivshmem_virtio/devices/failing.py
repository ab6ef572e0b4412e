# SPDX-License-Identifier: MIT
"""Stands for a device whose host resources are gone: whoever waits for it gets an error and comes free.

What it needs to know is in the record of the link; it opens nothing on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ivshmem_virtio.core import Bell, Chain, Engine, PlaneWorker
from ivshmem_virtio.devices import blk, blk_config_space, console, net_control
from ivshmem_virtio.devices.blk_request import Status, answer
from ivshmem_virtio.devices.device import DriverHandle
from ivshmem_virtio.devices.net_queues import NET_DEVICE_ID, control_queue, most_pairs, seldom_rung
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.queue import Queue


class FailingDevice:
    """Answers in the place of a device, with its features, queues and configuration as they were.

    Block requests get IOERR, control requests of a network driver ERR. Buffers that only hold output are returned at
    once. Buffers that are to be filled (console input, received frames, entropy) stay where they are: returned empty,
    drivers would post them again and again. So do requests of device types that this class does not know, because an
    answer nobody wrote could be taken for success.
    """

    def __init__(self, name: str, device_id: int, kept: KeptLink, window: int) -> None:
        self.name = name
        self.device_id = device_id
        self.features = kept.offered & ~int(Feature.RING_PACKED)
        self.packed = bool(kept.offered & Feature.RING_PACKED)
        self.queue_sizes: Sequence[int] = kept.queue_sizes
        self.config = kept.config
        self.seldom_rung = seldom_rung(device_id, len(self.queue_sizes))
        self.kept = 0
        self._record = kept
        # What a driver says on control queues goes unheard here, so the console and it must begin anew afterwards.
        self.resumable = device_id != console.Console.device_id or not self.features & console.Feature.MULTIPORT
        self._window = window
        self._control: int | None = None
        self.writable_config: Mapping[int, int] = self._writable_config()

    def _writable_config(self) -> Mapping[int, int]:
        if self.device_id == blk.Blk.device_id and self.features & blk_config_space.Feature.CONFIG_WCE:
            return {blk_config_space.WRITEBACK_OFFSET: 1}
        if self.device_id == console.Console.device_id:
            return console.Console.writable_config
        return {}

    def write_config(self, offset: int, data: bytes) -> None:
        """A disk's cache mode counts from now on, and for the disk itself once it is back; other fields are output."""
        if self.device_id == blk.Blk.device_id:
            self.config = self.config[:offset] + data + self.config[offset + len(data) :]
            self.kept = blk.KEPT_WRITETHROUGH * (data[0] == 0)
        else:
            self._note_dropped(1)

    def restore(self, kept: int) -> None:
        """Kept unseen, for the device itself."""
        self.kept = kept

    def activate(self, driver: DriverHandle) -> None:
        """Nothing has to be ready for an error. A network driver that begins anew has one queue pair in use."""
        if self.device_id == NET_DEVICE_ID:
            self._control = control_queue(driver.features, most_pairs(len(self.queue_sizes)))
            if not any(queue is not None and queue.ring.resumed for queue in driver.queues):
                self.kept = 0

    def deactivate(self) -> None:
        """No buffer is remembered."""

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        """Errors need not be fast."""
        return None

    def handle_queue(self, queue: Queue) -> None:
        """Answer what can be answered."""
        for chain in queue.chains():
            if self.device_id == blk.Blk.device_id:
                queue.push(chain, self._refuse(chain))
            elif queue.index == self._control and chain.writable_length:
                # Its driver spins for the answer.
                queue.push(chain, net_control.answer(chain, net_control.ERR))
            elif not chain.writable_length:
                self._note_dropped(chain.readable_length)
                queue.push(chain, 0)

    def _note_dropped(self, length: int) -> None:
        refused, dropped, total = self._record.lost
        self._record.lost = refused, dropped + 1, total + length

    def _refuse(self, chain: Chain) -> int:
        """Answer IOERR; returns the bytes written."""
        refused, dropped, length = self._record.lost
        self._record.lost = refused + 1, dropped, length
        room = chain.writable_length - 1
        if room < 0:
            return 0
        if room > self._window:
            # More bytes than the window has: its descriptors overlap. Not worth the time to fill.
            chain.write(room, bytes([Status.IOERR]))
            return 0
        return answer(chain, 0, room, Status.IOERR)
