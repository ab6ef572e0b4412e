# SPDX-License-Identifier: MIT
"""The worker threads of a network device, on which its queue pairs take turns."""

from __future__ import annotations

from ivshmem_virtio.core import PlaneWorker
from ivshmem_virtio.devices.placement import Placement


class Workers:
    """``count`` of them, each started when the first engine is for it. For the loop of the device."""

    def __init__(self, name: str, placement: Placement, count: int = 1) -> None:
        self.placement = placement
        self._name = name
        self._count = count
        self._started: dict[int, PlaneWorker] = {}

    def check(self) -> None:
        """That they could be started; raises PlacementInvalid."""
        self.placement.check()

    def of(self, pair: int) -> PlaneWorker:
        """The worker of both queues of a pair; it runs."""
        number = pair % self._count
        if number not in self._started:
            name = f"net {self._name}" if self._count == 1 else f"net {self._name} {number}"
            self._started[number] = self.placement.start(name)
        return self._started[number]

    def stop(self) -> None:
        """End them, none of which has an engine any more."""
        for worker in self._started.values():
            worker.stop()
        self._started.clear()
