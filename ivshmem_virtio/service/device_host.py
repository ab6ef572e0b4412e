# SPDX-License-Identifier: MIT
"""Everything one process serves: the devices of its guests, on workers, with a heartbeat on every link."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from ivshmem_virtio.devices import registry
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.service.attachment import Attachment
from ivshmem_virtio.service.fan_out import FanOut
from ivshmem_virtio.service.served_guest import ServedGuest, plugged
from ivshmem_virtio.service.worker import Worker

if TYPE_CHECKING:
    from ivshmem_virtio.devices.net_switch import Switch
    from ivshmem_virtio.service.confinement import Rights

log = logging.getLogger("ivshmem_virtio.backend")

HEARTBEAT_SECONDS = 0.5

MakeLink = Callable[[LinkLayout, Sequence[int]], Link]
"""From a layout and the own eventfds, by absolute vector, to the link."""


Confine = Callable[[Sequence[Resource]], "Rights"]
"""Gives up everything on the host but these."""


class DeviceHost:
    """The devices of one process. Switches belong to the process: guests plugged into one meet here."""

    def __init__(self, confine: Confine | None = None) -> None:
        """``confine`` is called once, for the first guest, before any thread is started."""
        self._confine = confine
        self._rights: Rights | None = None
        self._started_worker: Worker | None = None
        self._switches: dict[str, Switch] = {}
        self._guests: list[ServedGuest] = []
        self._fan_outs: list[FanOut] = []
        self._stopping = Event()
        self._heart = Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def _worker(self) -> Worker:
        """The worker of devices that do not block. Threads inherit the confinement of the one that starts them."""
        if self._started_worker is None:
            self._started_worker = Worker("devices")
            self._heart.start()
        return self._started_worker

    def add(
        self, attachment: Attachment, own_vectors: Sequence[int], make_link: MakeLink, state: int | None = None
    ) -> ServedGuest:
        """Serve the links of one guest from now on; raises DeviceError and what ``make_link`` raises.

        ``state``: descriptor of the private state object, for a back-end that somebody starts again.
        """
        if self._confine is not None:
            devices = not_open(attachment)
            for device in devices:
                device.prepare()
            self._rights = self._confine([resource for device in devices for resource in device.resources])
            self._confine = None
        layouts = [link.layout for link in attachment.links]
        fan_out = self._worker.call(partial(FanOut, self._worker.loop, own_vectors, layouts, attachment.doorbell_rate))
        self._fan_outs.append(fan_out)

        def link_for(layout: LinkLayout) -> Link:
            return make_link(layout, self._worker.call(partial(fan_out.doorbells, layout)))

        guest = ServedGuest(attachment, link_for, self._worker, self._switches, state)
        self._guests.append(guest)
        return guest

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            for guest in list(self._guests):
                guest.beat()
            self._renew_rights()

    def _renew_rights(self) -> None:
        """Rights are about files, not about names: for a file that came later, only a new process can have them."""
        if self._rights is None or not any(guest.in_trouble for guest in list(self._guests)):
            return
        stale = self._rights.stale()
        if stale is not None:
            log.warning("%s is another file than when this back-end started: it is started again", stale)
            os._exit(os.EX_TEMPFAIL)

    def stop(self) -> None:
        """Declare every device absent and give back everything."""
        self._stopping.set()
        if self._heart.ident is not None:
            self._heart.join()
        for guest in self._guests:
            guest.stop()
        for fan_out in self._fan_outs:
            self._worker.call(fan_out.close)
        if self._started_worker is not None:
            self._started_worker.stop()


def not_open(attachment: Attachment) -> list[Device]:
    """The devices of an attachment, to ask them what they will need of the host."""
    devices: list[Device] = []
    for served in attachment.links:
        keys = served.keys
        # A device that cannot be made needs nothing; why, its link will say.
        with suppress(Exception):
            devices.append(registry.create(served.kind, served.layout.name, served.layout.rw_size, plugged(keys, {})))
    return devices
