# SPDX-License-Identifier: MIT
"""How a hostile driver comes to its link: as the guest of a server's socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ivshmem_virtio.evil.driver.target import Target
from ivshmem_virtio.link.directory import read_directory
from ivshmem_virtio.link.layout import FRONTEND
from ivshmem_virtio.memory.slices import window_of
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.transport.driver.attach import choose_link

JOIN_SECONDS = 10.0


@contextmanager
def evil_driver_on(socket: Path, wanted: str | None, *, seconds: float, packed: bool = False) -> Iterator[Target]:
    """Join, and be let in on a link; raises PeerError, DirectoryError, LinkMissing, LinkAmbiguous, DeviceLost."""
    with IvshmemClient.attach(socket, timeout=JOIN_SECONDS) as client:
        layout = choose_link(read_directory(client.memory), wanted)
        backend = layout.backend_peer
        client.wait_for_peer(backend, JOIN_SECONDS)
        link = V1Link.map(
            client.memory, layout, FRONTEND, client.own_vectors, client.ringer(backend), lambda peer: peer == backend
        )
        region = window_of(client.memory, 0, client.memory_size)
        try:
            target = Target(link, layout, client.memory, region, peer_id=client.peer_id, seconds=seconds, packed=packed)
            try:
                yield target
            finally:
                target.leave()
        finally:
            link.close()
            region.close()
