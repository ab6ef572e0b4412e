# SPDX-License-Identifier: MIT
"""The links of one guest as a back-end process serves them: devices, transports, workers, status file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from ivshmem_virtio.devices import registry
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.devices.net_switch import Switch
from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.service.attachment import Attachment, ServedLink
from ivshmem_virtio.service.state_object import open_state
from ivshmem_virtio.service.worker import Worker
from ivshmem_virtio.transport.device import DeviceTransport, QueueFactory
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.queue import Queue
from ivshmem_virtio.transport.trace import Trace

LinkFactory = Callable[[LinkLayout], Link]


@dataclass
class Serving:
    """One device at work."""

    device: Device
    transport: DeviceTransport
    worker: Worker


class ServedGuest:
    """Opens the devices of an attachment, then serves them until ``stop``.

    Devices whose work blocks (blk) get a worker of their own; the others share ``worker``. ``state`` is the descriptor
    of the private state object, from which the devices go on where a predecessor was killed; without one they begin
    afresh.
    """

    def __init__(
        self,
        attachment: Attachment,
        make_link: LinkFactory,
        worker: Worker,
        switches: dict[str, Switch],
        state: int | None = None,
    ) -> None:
        self._attachment = attachment
        self._shared_worker = worker
        self._switches = switches
        self._status_lock = Lock()
        self._serving: list[Serving] = []
        try:
            for link in attachment.links:
                self._serving.append(self._open(link, make_link(link.layout)))
        except BaseException:
            self.stop()
            raise
        for serving, kept in zip(self._serving, self._kept_links(state), strict=True):
            serving.worker.call(partial(serving.transport.start, kept))
        self._write_status()

    def _open(self, served: ServedLink, link: Link) -> Serving:
        device = registry.create(served.kind, served.layout.name, served.layout.rw_size, self._keys(served))
        worker = Worker(device.name) if device.blocking else self._shared_worker
        factory: QueueFactory = Queue
        if self._attachment.trace_file is not None:
            factory = Trace(Path(self._attachment.trace_file), device.name, link.window.length).queue
        transport = DeviceTransport(link, device, worker.loop, on_change=self._write_status, queue_factory=factory)
        worker.call(partial(device.open, worker.loop))
        return Serving(device, transport, worker)

    def _kept_links(self, state: int | None) -> Sequence[KeptLink | None]:
        if state is None:
            return [None] * len(self._serving)
        layouts = [link.layout for link in self._attachment.links]
        devices = [serving.device for serving in self._serving]
        return open_state(state, list(zip(layouts, devices, strict=True)))

    def _keys(self, served: ServedLink) -> Mapping[str, Any]:
        """The configured keys, with the switch of this process where the device is plugged into one."""
        via = served.keys.get("via")
        if isinstance(via, Mapping) and "switch" in via:
            return {**served.keys, "switch": self._switches.setdefault(via["switch"], Switch(via["switch"]))}
        return served.keys

    def beat(self) -> None:
        """One heartbeat on every link."""
        for serving in self._serving:
            serving.transport.registers.beat()

    def stop(self) -> None:
        """Declare every device absent and give back its resources."""
        for serving in self._serving:
            serving.worker.call(serving.transport.stop)
            serving.worker.call(serving.device.close)
            if serving.worker is not self._shared_worker:
                serving.worker.stop()
            serving.transport.link.close()
        self._serving.clear()

    def _write_status(self) -> None:
        """What ``inspect`` cannot read from the window: negotiated features and queue addresses, from private state."""
        with self._status_lock:
            links = [serving.transport.describe() for serving in self._serving]
            path = Path(self._attachment.status_file)
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps({"guest": self._attachment.guest, "pid": os.getpid(), "links": links}))
            fresh.replace(path)
