# SPDX-License-Identifier: MIT
"""The links of one guest as a back-end process serves them: devices, transports, workers, status file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivshmem_virtio.devices import registry
from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.service.attachment import Attachment, ServedLink
from ivshmem_virtio.service.link_service import LinkService, Opened
from ivshmem_virtio.service.precedence import Precedence
from ivshmem_virtio.service.recovery import Recovery
from ivshmem_virtio.service.state_object import find_state, make_state
from ivshmem_virtio.service.status_file import StatusFile
from ivshmem_virtio.service.worker import Worker
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.trace import Trace

if TYPE_CHECKING:
    from ivshmem_virtio.devices.net_switch import Switch

LinkFactory = Callable[[LinkLayout], Link]


class ServedGuest:
    """Opens the devices of an attachment, then serves them until ``stop``.

    ``state`` is the descriptor of the private state object. Where a predecessor has left something there the devices
    go on, and one that cannot be opened is tried again; where not they begin afresh, and all of them must open.
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
        self._status = StatusFile(Path(attachment.status_file), worker.loop, self._describe)
        self._services: list[LinkService] = []
        self._recoveries: list[Recovery] = []
        try:
            for served in attachment.links:
                self._services.append(self._service(served, make_link(served.layout)))
            self._start(state)
        except BaseException:
            self.stop()
            raise
        self._status.changed()

    def _service(self, served: ServedLink, link: Link) -> LinkService:
        path = self._attachment.trace_file
        trace = Trace(Path(path), served.layout.name, link.window.length) if path is not None else None
        keys = plugged(served.keys, self._switches)
        kind, layout = served.kind, served.layout
        make = partial(registry.create, kind, layout.name, layout.rw_size, keys, packed=served.packed)
        return LinkService(
            served, link, make, self._shared_worker, self._status.changed, trace, self._attachment.doorbell_rate
        )

    def _start(self, state: int | None) -> None:
        found = find_state(state, self._attachment.links) if state is not None else None
        if found is not None:
            precedence = Precedence(found)
            for service, kept in zip(self._services, found, strict=True):
                self._recoveries.append(Recovery(service, kept, precedence))
        else:
            self._start_afresh(state)

    def _start_afresh(self, state: int | None) -> None:
        opened: list[Opened] = []
        try:
            for service in self._services:
                opened.append(service.open().result())
        except BaseException:
            for service, one in zip(self._services, opened, strict=False):
                service.abandon(one)
            raise
        kept: Sequence[KeptLink | None] = [None] * len(opened)
        if state is not None:
            kept = make_state(state, self._attachment.links, [one.device for one in opened])
        for service, one, record in zip(self._services, opened, kept, strict=True):
            service.serve(one, record)

    @property
    def in_trouble(self) -> bool:
        """Whether a device cannot be served now."""
        return any(service.trouble is not None for service in self._services)

    def wait_served(self) -> bool:
        """Return when every device is served (True), or nobody tries any more."""
        return all(recovery.wait() for recovery in self._recoveries)

    def beat(self) -> None:
        """One heartbeat on every link."""
        for service in self._services:
            service.beat()

    def stop(self) -> None:
        """Declare every device absent and give back its resources."""
        for recovery in self._recoveries:
            recovery.stop()
        for service in self._services:
            service.stop()
        self._services.clear()

    def _describe(self) -> dict[str, Any]:
        """What ``inspect`` cannot read from the window: negotiated features and queue addresses, from private state."""
        links = [service.describe() for service in self._services]
        return {"guest": self._attachment.guest, "pid": os.getpid(), "links": links}


def plugged(keys: Mapping[str, Any], switches: dict[str, Switch]) -> Mapping[str, Any]:
    """The configured keys of a device, with the switch itself where the device is plugged into one."""
    via = keys.get("via")
    if isinstance(via, Mapping) and "switch" in via:
        # Only where there is one: a back-end that is started again is waited for.
        from ivshmem_virtio.devices.net_switch import Switch

        return {**keys, "switch": switches.setdefault(via["switch"], Switch(via["switch"]))}
    return keys
