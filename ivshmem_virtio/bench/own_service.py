# SPDX-License-Identifier: MIT
"""Our service with one block device, as a user runs it, for the load."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ivshmem_virtio.bench.loaded_disk import LoadedDisk
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.transport.driver.attach import ServerPeer, choose_link
from ivshmem_virtio.transport.driver.transport import DriverTransport
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.vm.service import ServiceProcess

SECONDS = 30.0
SECTOR = 512
"""Bytes a block device counts in."""
KICKS_A_SECOND = 10_000_000
"""Without this the default share of doorbells a guest has would be measured, not what a doorbell costs."""

CONFIGURATION = """\
[service]
name = "{name}"
runtime_dir = "run"

[[guest]]
name = "guest"
region = "256M"
vectors = 8
doorbell_rate = {kicks}

  [[guest.device]]
  type = "blk"
  name = "disk"
  window = "160M"
  queue_size = 512
{keys}
"""


def configuration(name: str, keys: Mapping[str, object]) -> str:
    """A service with one disk, which has these further keys."""
    # A text, number or truth reads the same in TOML as in JSON.
    lines = [f"  {key} = {json.dumps(value)}" for key, value in keys.items()]
    return CONFIGURATION.format(name=name, kicks=KICKS_A_SECOND, keys="\n".join(lines))


@contextmanager
def own_disk(
    folder: Path, keys: Mapping[str, object], name: str, *, processor: int, features: int = Feature.EVENT_IDX
) -> Iterator[LoadedDisk]:
    """``ivshmem-virtio serve`` in ``folder`` on one processor, and its disk's first queue."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "service.toml"
    config.write_text(configuration(f"bench-{os.getpid()}-{uuid.uuid4().hex[:6]}", keys))
    with ExitStack() as stack:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {processor})
        try:
            stack.enter_context(ServiceProcess(["serve", str(config)], folder))
        finally:
            os.sched_setaffinity(0, before)
        client = stack.enter_context(IvshmemClient.attach(folder / "run" / "guest.sock", timeout=SECONDS))
        yield stack.enter_context(_driven(client, name, features))


@contextmanager
def _driven(client: IvshmemClient, name: str, features: int) -> Iterator[LoadedDisk]:
    peer = ServerPeer(client, SECONDS)
    layout = choose_link(peer.links(), "disk")
    link = peer.attach(layout)
    transport = DriverTransport(link, peer_id=peer.peer_id, seconds=SECONDS)
    try:
        transport.bring_up()
        transport.negotiate(features)
        queue = transport.setup_queue(0)
        capacity = int.from_bytes(transport.read_config(0, 8), "little") * SECTOR
        kick = client.doorbells(layout.backend_peer)[
            layout.backend_vector + link.window.load16(Header.QUEUE_DEVICE_VECTOR)
        ]
        room = 130 << 20
        base = transport.pool.allocate(room)
        transport.ready()
        yield LoadedDisk(name, queue.ring, kick, link.fileno(queue.vector), base, room, capacity)
    finally:
        transport.close()
        link.close()


def null_disk(*, polls: bool) -> dict[str, object]:
    """Keys of a disk that answers at once and touches no data."""
    return {"backend": "null", "poll": polls}
