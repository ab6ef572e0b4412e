# SPDX-License-Identifier: MIT
"""Where a hostile back-end plays: as the ivshmem server of a region, or as a client of one."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from ivshmem_virtio.evil.backend.errors import RegionTooSmallToPlay
from ivshmem_virtio.memory.region import Region
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.doorbells import ring_eventfd
from ivshmem_virtio.peer.server import IvshmemServer
from ivshmem_virtio.service.config import Config, GuestConfig
from ivshmem_virtio.service.plan import BACKEND_PEER, FRONTEND_PEER, plan
from ivshmem_virtio.service.size import format_size


class Place(ABC):
    """Memory, own doorbells, and those of the guest."""

    memory: int
    size: int
    peer_id: int
    vectors: Sequence[int]

    @abstractmethod
    def ring(self, vector: int) -> None:
        """Ring an absolute vector of the guest; nothing happens where there is none."""

    @abstractmethod
    def refresh(self) -> None:
        """Take notice of who came and went."""

    @abstractmethod
    def close(self) -> None:
        """Leave."""


class ClientPlace(Place):
    """An ordinary peer of somebody else's server; every other peer is taken for the guest."""

    def __init__(self, socket: Path, vectors: int, needed: int) -> None:
        """Raises RegionTooSmallToPlay and what IvshmemClient.attach raises."""
        self._client = IvshmemClient.attach(socket, vectors=vectors)
        self.memory, self.size = self._client.memory, self._client.memory_size
        self.peer_id, self.vectors = self._client.peer_id, self._client.own_vectors
        if self.size < needed:
            self.close()
            raise RegionTooSmallToPlay(
                f"the server's region has {format_size(self.size)}, the configuration lays out {format_size(needed)}"
            )
        for descriptor in self.vectors:
            os.set_blocking(descriptor, False)

    def ring(self, vector: int) -> None:
        for peer in self._client.peers:
            self._client.ringer(peer).ring(vector)

    def refresh(self) -> None:
        self._client.poll()

    def close(self) -> None:
        self._client.close()


class ServerPlace(Place):
    """The region, the guest's socket and all doorbells are its own, as those of the real service would be."""

    def __init__(self, config: Config, guest: GuestConfig) -> None:
        """Raises what Region.create and IvshmemServer.add_guest raise."""
        made = plan(config, guest)
        guest.socket.parent.mkdir(parents=True, exist_ok=True)
        self._region = Region.create(made.shared_memory, made.size, mode=config.service.mode)
        self.memory, self.size, self.peer_id = self._region.memory, made.size, BACKEND_PEER
        self._loop = asyncio.new_event_loop()
        try:
            self._server = IvshmemServer(self.memory, loop=self._loop)
            self.vectors = self._server.add_local_peer(BACKEND_PEER, guest.vectors)
            self._server.add_guest(guest.name, guest.socket, FRONTEND_PEER, guest.vectors, mode=config.service.mode)
            self._guest = self._server.doorbells(FRONTEND_PEER)
        except BaseException:
            self._loop.close()
            self._forget()
            raise
        for descriptor in (*self.vectors, *self._guest):
            os.set_blocking(descriptor, False)
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()

    def ring(self, vector: int) -> None:
        if 0 <= vector < len(self._guest):
            ring_eventfd(self._guest[vector])

    def refresh(self) -> None:
        """Nothing to do: the server's own thread sees to its clients."""

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join()
        self._loop.close()
        self._forget()

    def _end(self) -> None:
        self._server.close()
        self._loop.stop()

    def _forget(self) -> None:
        self._region.unlink()
        self._region.close()
