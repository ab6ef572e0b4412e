# SPDX-License-Identifier: MIT
"""What the keeper keeps for one guest: the region, its directory, the guest's socket and everybody's doorbells."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.memory.region import Region
from ivshmem_virtio.peer.server import IvshmemServer
from ivshmem_virtio.peer.server_record import Files
from ivshmem_virtio.service.activation import inherited_socket
from ivshmem_virtio.service.attachment import Attachment, Descriptors, ServedLink
from ivshmem_virtio.service.config import Config, GuestConfig
from ivshmem_virtio.service.plan import FRONTEND_PEER, LinkPlan, plan

MAIN_BACKEND = "main"
"""Who serves the links that no switch serves."""

REGION = "region"
LOCK = "lock"


def state_name(backend: str) -> str:
    """Name of a state object among the descriptors of its guest."""
    return f"state.{backend}"


def restore_region(record: dict[str, Any], files: Files) -> Region:
    """The region of a guest that an earlier keeper recorded; takes its descriptors."""
    return Region(files[REGION], record["region"]["size"], name=record["region"]["name"], lock=files.get(LOCK))


class KeptGuest:
    """One guest's share of the keeper. Never maps the region, never reads what a guest can write.

    ``region`` is the one to go on with, None: a new one. ``on_change`` is told before anybody learns of a change.
    """

    def __init__(
        self,
        config: Config,
        guest: GuestConfig,
        *,
        on_change: Callable[[], None] | None = None,
        region: Region | None = None,
    ) -> None:
        self.name = guest.name
        self._config = config
        self._guest = guest
        self._plan = plan(config, guest)
        self._owner = Owner.parse(config.service.owner) if config.service.owner else None
        self._region = region or Region.create(
            self._plan.shared_memory, self._plan.size, mode=config.service.mode, owner=self._owner
        )
        self._directory = DirectoryWriter(self._region.memory, self._region.size)
        self._server = IvshmemServer(self._region.memory, links=self._links, on_change=on_change)
        self._doorbells: dict[int, list[int]] = {}
        self._states: dict[str, int] = {}
        self._by_backend: dict[str, list[LinkPlan]] = defaultdict(list)
        for link in self._plan.links:
            self._by_backend[f"switch {link.switch}" if link.switch else MAIN_BACKEND].append(link)

    @classmethod
    def adopt(
        cls,
        config: Config,
        guest: GuestConfig,
        record: dict[str, Any],
        files: Files,
        *,
        on_change: Callable[[], None] | None = None,
    ) -> KeptGuest:
        """Go on with what an earlier keeper recorded, which the configuration fits. Takes the descriptors.

        The region is not written to: a guest is at work there. Raises what Listener raises.
        """
        region = restore_region(record, files)
        kept = cls(config, guest, on_change=on_change, region=region)
        kept._directory.take_over({int(number): LinkLayout(**link) for number, link in record["slots"].items()})
        kept._server.restore(
            guest.name,
            record["peers"],
            files,
            mode=config.service.mode,
            owner=kept._owner,
            inherited=inherited_socket(guest.socket),
        )
        for peer in (*(links[0].layout.backend_peer for links in kept._by_backend.values()), FRONTEND_PEER):
            kept._doorbells[peer] = kept._server.doorbells(peer)
        kept._states = {backend: files[state_name(backend)] for backend in record["states"]}
        return kept

    @property
    def backends(self) -> list[str]:
        """Names of the back-ends that serve this guest: its own, and the switches it is plugged into."""
        return list(self._by_backend)

    def open(self) -> None:
        """Take in the guest's socket and publish the directory: from here on a guest may come."""
        for links in self._by_backend.values():
            peer = links[0].layout.backend_peer
            self._doorbells[peer] = self._server.add_local_peer(peer, self._guest.vectors)
        self._server.add_guest(
            self.name,
            self._guest.socket,
            FRONTEND_PEER,
            self._guest.vectors,
            mode=self._config.service.mode,
            owner=self._owner,
            inherited=inherited_socket(self._guest.socket),
        )
        self._doorbells[FRONTEND_PEER] = self._server.doorbells(FRONTEND_PEER)
        self._directory.set_up(self._plan.layouts)

    def attachment(self, backend: str, trace_file: Path | None) -> tuple[Attachment, Descriptors]:
        """What a back-end needs to serve its links of this guest."""
        links = self._by_backend[backend]
        if backend not in self._states:
            self._states[backend] = os.memfd_create(f"ivshmem-virtio-state.{self.name}.{backend}", os.MFD_CLOEXEC)
        served = [
            ServedLink(link.layout, link.device.type, link.device.keys, link.device.absence, link.device.packed)
            for link in links
        ]
        status = self._config.status_file(self._guest, links[0].switch)
        status.parent.mkdir(parents=True, exist_ok=True)
        descriptors = Descriptors(
            self._region.memory,
            self._states[backend],
            self._doorbells[links[0].layout.backend_peer],
            self._doorbells[FRONTEND_PEER],
        )
        trace = str(trace_file) if trace_file is not None else None
        confined = self._config.service.confine
        rate = self._guest.doorbell_rate
        return Attachment(self.name, FRONTEND_PEER, str(status), trace, served, rate, confined), descriptors

    def record(self) -> tuple[dict[str, Any], Files]:
        """What ``adopt`` needs, as something JSON can hold, and the descriptors it speaks of, by name."""
        peers, files = self._server.record()
        record = {
            "region": {"name": self._region.name, "size": self._region.size},
            "vectors": self._guest.vectors,
            "socket": str(self._guest.socket),
            "slots": {str(number): asdict(link) for number, link in self._directory.slots().items()},
            "peers": peers,
            "states": list(self._states),
        }
        files[REGION] = self._region.memory
        if self._region.lock is not None:
            files[LOCK] = self._region.lock
        files |= {state_name(backend): number for backend, number in self._states.items()}
        return record, files

    def let_go(self) -> None:
        """A successor serves the guest from here on."""
        self._server.let_go()

    def backend_died(self, backend: str) -> None:
        """Declare its links absent and tell the guest."""
        self._server.mark_absent(self._by_backend[backend][0].layout.backend_peer)

    def close(self) -> None:
        """Let the guest's QEMU go and remove the region's name; who still holds the memory keeps it."""
        self._server.close()
        self._region.unlink()
        self._region.close()
        for state in self._states.values():
            os.close(state)

    def _links(self) -> list[tuple[LinkLayout, int | None]]:
        return [(layout, FRONTEND_PEER) for layout in self._plan.layouts]
