# SPDX-License-Identifier: MIT
"""Everything one process serves: the devices of its guests, on workers, with a heartbeat on every link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.service.attachment import Attachment
from ivshmem_virtio.service.fan_out import FanOut
from ivshmem_virtio.service.served_guest import ServedGuest
from ivshmem_virtio.service.worker import Worker

if TYPE_CHECKING:
    from ivshmem_virtio.devices.net_switch import Switch

HEARTBEAT_SECONDS = 0.5

MakeLink = Callable[[LinkLayout, Sequence[int]], Link]
"""From a layout and the own eventfds, by absolute vector, to the link."""


class DeviceHost:
    """The devices of one process. Switches belong to the process: guests plugged into one meet here."""

    def __init__(self) -> None:
        self._worker = Worker("devices")
        self._switches: dict[str, Switch] = {}
        self._guests: list[ServedGuest] = []
        self._fan_outs: list[FanOut] = []
        self._stopping = Event()
        self._heart = Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()

    def add(
        self, attachment: Attachment, own_vectors: Sequence[int], make_link: MakeLink, state: int | None = None
    ) -> None:
        """Serve the links of one guest from now on; raises DeviceError and what ``make_link`` raises.

        ``state``: descriptor of the private state object, for a back-end that somebody starts again.
        """
        layouts = [link.layout for link in attachment.links]
        fan_out = self._worker.call(partial(FanOut, self._worker.loop, own_vectors, layouts))
        self._fan_outs.append(fan_out)

        def link_for(layout: LinkLayout) -> Link:
            return make_link(layout, self._worker.call(partial(fan_out.doorbells, layout)))

        self._guests.append(ServedGuest(attachment, link_for, self._worker, self._switches, state))

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            for guest in list(self._guests):
                guest.beat()

    def stop(self) -> None:
        """Declare every device absent and give back everything."""
        self._stopping.set()
        self._heart.join()
        for guest in self._guests:
            guest.stop()
        for fan_out in self._fan_outs:
            self._worker.call(fan_out.close)
        self._worker.stop()
