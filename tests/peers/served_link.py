# SPDX-License-Identifier: MIT
"""A device of ours on the back-end's end of a plain region, on a worker thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.peer.doorbells import Doorbells
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.service.worker import Worker
from ivshmem_virtio.transport.device import DeviceTransport
from tests.peers.plain_region import BACKEND, FRONTEND, LINK, STATE_TABLE, PlainRegion


def layout_of(region: PlainRegion, device_id: int) -> LinkLayout:
    """What the directory would say about the region's link."""
    frontend, backend = len(region.doorbells[FRONTEND]), len(region.doorbells[BACKEND])
    return LinkLayout("plain", device_id, LINK, region.window, 0, frontend, 0, backend, 0, STATE_TABLE)


def link_to(region: PlainRegion, index: int, device_id: int = 1) -> V1Link:
    """One end of the region's link; any peer may be the other."""
    other = Doorbells(region.doorbells[1 - index])
    return V1Link.map(
        region.memory, layout_of(region, device_id), index, region.doorbells[index], other, lambda peer: True
    )


class Heart(threading.Thread):
    """Beats for a transport, as a back-end process does for all of its."""

    def __init__(self, transport: DeviceTransport) -> None:
        super().__init__(daemon=True)
        self._transport = transport
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.5):
            self._transport.registers.beat()

    def stop(self) -> None:
        self._end.set()
        self.join()


@contextmanager
def served(region: PlainRegion, device: Device) -> Iterator[DeviceTransport]:
    """Serve ``device`` until the end of the block."""
    worker = Worker("served-link")
    link = link_to(region, BACKEND, device.device_id)
    try:
        worker.call(lambda: device.open(worker.loop))
        transport = worker.call(lambda: DeviceTransport(link, device, worker.loop))
        worker.call(transport.start)
        heart = Heart(transport)
        heart.start()
        yield transport
        heart.stop()
        worker.call(transport.stop)
        worker.call(device.close)
    finally:
        worker.stop()
        link.close()
