# SPDX-License-Identifier: MIT
"""A guest's network driver whose device is served by a worker, as in a service: doorbells are eventfds."""

from __future__ import annotations

import os
from functools import partial

from ivshmem_virtio.core import Engine, PlaneWorker
from tests.devices.net_guest import NetGuest


class NetOnWorker(NetGuest):
    """Rings only where the device asks for it, so that a device that forgets to ask waits for a second."""

    def _activate(self) -> None:
        self.device.activate(self.driver)
        self.bells: dict[int, int] = {}
        self.rung = dict.fromkeys(self.rings, 0)
        self.stopped: list[int] = []
        self.attached: list[tuple[PlaneWorker, Engine]] = []
        for index, ring in self.rings.items():
            found = self.device.compiled(ring.device, ring.bell)
            if found is None:
                assert index in self.device.seldom_rung, f"queue {index} has no engine"
                continue
            self.bells[index] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            worker, engine = found
            self.attached.append(found)
            worker.attach(engine, doorbells=[self.bells[index]], on_stopped=partial(self.stopped.append, index))

    def let_go(self) -> None:
        """What the transport does before anything about a queue changes."""
        for worker, engine in self.attached:
            worker.detach(engine)
        self.attached.clear()
        for bell in self.bells.values():
            os.close(bell)
        self.bells.clear()

    def kick(self, queue: int) -> None:
        if queue not in self.bells:
            super().kick(queue)
            return
        wanted = self.rings[queue].driver.notifications_wanted
        if wanted != self.rung[queue]:
            self.rung[queue] = wanted
            os.eventfd_write(self.bells[queue], 1)

    def _renew(self, indices: list[int]) -> None:
        self.let_go()
        super()._renew(indices)

    def reset(self) -> None:
        self.let_go()
        super().reset()
