# SPDX-License-Identifier: MIT
"""A back-end that is a client of somebody else's ivshmem-server: keeper of the directory and device side in one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, LinkLayout
from ivshmem_virtio.link.state_table import zero_entry
from ivshmem_virtio.memory.lock import lock_directory
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.doorbells import ring_eventfd
from ivshmem_virtio.peer.foreign import ForeignFrontend
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.service.attachment import Attachment, ServedLink
from ivshmem_virtio.service.config import Config, GuestConfig
from ivshmem_virtio.service.device_host import DeviceHost
from ivshmem_virtio.service.notify import Readiness
from ivshmem_virtio.service.plan import LinkPlan, plan
from ivshmem_virtio.service.size import format_size

log = logging.getLogger("ivshmem_virtio.attach")


class RegionDiffers(IvshmemVirtioError):
    """A foreign server's region or vectors are not what the configuration says."""


class SwitchNotServed(IvshmemVirtioError):
    """A foreign server's region has one guest; a switch needs several of one service."""


def attach(config: Config, guest: GuestConfig, socket: Path, *, pidfile: Path | None = None) -> None:
    """Serve ``guest`` through the server at ``socket`` until SIGTERM or SIGINT.

    Raises RegionDiffers, SwitchNotServed, DirectoryLocked, DeviceError and what IvshmemClient.attach raises.
    """
    asyncio.run(_attach(config, guest, socket, Readiness(pidfile)))


async def _attach(config: Config, guest: GuestConfig, socket: Path, readiness: Readiness) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    links = plan(config, guest).links
    frontends: list[tuple[LinkLayout, ForeignFrontend]] = []

    def on_leave(peer_id: int) -> None:
        bury(client, frontends, peer_id)

    with IvshmemClient.attach(socket, vectors=guest.vectors, on_leave=on_leave) as client:
        layouts = check(client, guest, links)
        frontends += [(layout, ForeignFrontend(client)) for layout in layouts]
        lock = lock_directory(client.memory)
        host = DeviceHost()
        try:
            DirectoryWriter(client.memory, client.memory_size).set_up(layouts)
            config.status_file(guest).parent.mkdir(parents=True, exist_ok=True)
            by_offset = {layout.offset: frontend for layout, frontend in frontends}
            attachment = _attachment(config, guest, links, layouts)
            host.add(attachment, client.own_vectors, partial(make_link, client, by_offset))
            client.watch(loop)
            readiness.ready(f"serving {guest.name} as peer {client.peer_id}")
            log.info("READY: serving %s as peer %d of %s", guest.name, client.peer_id, socket)
            await stop.wait()
        finally:
            readiness.stopping()
            host.stop()
            os.close(lock)


def check(client: IvshmemClient, guest: GuestConfig, links: Sequence[LinkPlan]) -> list[LinkLayout]:
    """The planned layouts with the id this server gave us; raises RegionDiffers and SwitchNotServed."""
    for link in links:
        if link.switch is not None:
            raise SwitchNotServed(f"device {link.layout.name}: a switch cannot be served behind a foreign server")
    if client.memory_size != guest.region:
        raise RegionDiffers(
            f"the server's region has {format_size(client.memory_size)}, the configuration of guest {guest.name} says "
            f'region = "{format_size(guest.region)}"; make them equal'
        )
    if len(client.own_vectors) < guest.vectors:
        raise RegionDiffers(
            f"the server gives {len(client.own_vectors)} vectors, the configuration of guest {guest.name} says "
            f"vectors = {guest.vectors}; make them equal"
        )
    return [replace(link.layout, backend_peer=client.peer_id) for link in links]


def bury(client: IvshmemClient, frontends: Sequence[tuple[LinkLayout, ForeignFrontend]], peer_id: int) -> None:
    """A peer left: where it was the front-end, say so in its stead, as a v2 hypervisor would."""
    for layout, frontend in frontends:
        if frontend.claimed == peer_id or not client.peers:
            zero_entry(client.memory, layout, FRONTEND)
            ring_eventfd(client.own_vectors[layout.backend_vector])


def make_link(
    client: IvshmemClient,
    frontends: Mapping[int, ForeignFrontend],
    layout: LinkLayout,
    own_vectors: Sequence[int],
) -> Link:
    """A link whose guest may be any connected peer; it says which."""
    frontend = frontends[layout.offset]
    return V1Link.map(
        client.memory, layout, BACKEND, own_vectors=own_vectors, other=frontend, other_peer_is=frontend.accept
    )


def _attachment(
    config: Config, guest: GuestConfig, links: Sequence[LinkPlan], layouts: Sequence[LinkLayout]
) -> Attachment:
    served = [
        ServedLink(layout, link.device.type, link.device.keys, link.device.absence, link.device.packed)
        for link, layout in zip(links, layouts, strict=True)
    ]
    return Attachment(
        guest.name, FRONTEND, str(config.status_file(guest)), None, served, guest.doorbell_rate, confined=False
    )
