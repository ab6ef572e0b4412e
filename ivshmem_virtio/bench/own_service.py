# SPDX-License-Identifier: MIT
"""Our service as a user runs it, on one processor, and the driver's end of its links."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.link.layout import Header, LinkLayout
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.driver.attach import ServerPeer, choose_link
from ivshmem_virtio.transport.driver.queue import DriverVirtqueue
from ivshmem_virtio.transport.driver.transport import DriverTransport, brought_up
from ivshmem_virtio.vm.service import ServiceProcess

SECONDS = 30.0
KICKS_A_SECOND = 10_000_000
"""Without this the default share of doorbells a guest has would be measured, not what a doorbell costs."""

SERVICE = """\
[service]
name = "bench-{unique}"
runtime_dir = "run"
"""
GUEST = """
[[guest]]
name = "{name}"
region = "{region}"
vectors = {vectors}
doorbell_rate = {kicks}
"""
DEVICE = """
  [[guest.device]]
{keys}
"""


def service_text() -> str:
    """The head of a configuration; the service has a name nobody else uses."""
    return SERVICE.format(unique=f"{os.getpid()}-{uuid.uuid4().hex[:6]}")


def guest_text(name: str, region: str, *devices: Mapping[str, object], vectors: int = 8) -> str:
    """A guest with these devices."""
    return GUEST.format(name=name, region=region, vectors=vectors, kicks=KICKS_A_SECOND) + "".join(
        DEVICE.format(keys="\n".join(f"  {key} = {_toml(value)}" for key, value in keys.items())) for keys in devices
    )


def _toml(value: object) -> str:
    """A text, number, truth or list of them reads the same in TOML as in JSON; a table does not."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


@contextmanager
def service(folder: Path, text: str, *, processor: int) -> Iterator[ServiceProcess]:
    """``ivshmem-virtio serve`` on that configuration, all of it on one processor."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "service.toml"
    config.write_text(text)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        started = ServiceProcess(["serve", str(config)], folder)
    finally:
        os.sched_setaffinity(0, before)
    with started:
        yield started


@contextmanager
def guest(folder: Path, name: str) -> Iterator[IvshmemClient]:
    """The guest's place at its service."""
    with IvshmemClient.attach(folder / "run" / f"{name}.sock", timeout=SECONDS) as client:
        yield client


@dataclass(frozen=True)
class Driven:
    """A link whose device was met; ``kick`` is the doorbell of the back-end for a queue."""

    client: IvshmemClient
    layout: LinkLayout
    link: Link
    transport: DriverTransport

    def kick(self) -> int:
        """Eventfd that rings the back-end for the queue that was set up last."""
        vector = self.layout.backend_vector + self.link.window.load16(Header.QUEUE_DEVICE_VECTOR)
        return self.client.doorbells(self.layout.backend_peer)[vector]

    def call(self, queue: DriverVirtqueue) -> int:
        """Eventfd that is readable when the device returned buffers of a queue."""
        return self.link.fileno(queue.vector)


@contextmanager
def driven(client: IvshmemClient, link_name: str) -> Iterator[Driven]:
    """Meet the device of a link; the caller negotiates."""
    peer = ServerPeer(client, SECONDS)
    layout = choose_link(peer.links(), link_name)
    link = peer.attach(layout)
    with brought_up(link, peer_id=peer.peer_id, seconds=SECONDS) as transport:
        yield Driven(client, layout, link, transport)
