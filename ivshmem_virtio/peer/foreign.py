# SPDX-License-Identifier: MIT
"""The front-end of a link under a foreign server: any peer may be it, and a restarted one has a new id."""

from __future__ import annotations

from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.doorbells import Rope


class ForeignFrontend:
    """Rings whichever connected peer claimed to be the front-end; where nobody did, the only other peer.

    The claim comes from shared memory: it may name a connected peer other than this one, and nothing else.
    """

    def __init__(self, client: IvshmemClient) -> None:
        self._client = client
        self.claimed: int | None = None
        """The id of the peer last accepted."""

    def accept(self, peer_id: int) -> bool:
        """Whether the front-end may be ``peer_id``; it is rung from now on."""
        if not self._client.is_other_peer(peer_id):
            return False
        self.claimed = peer_id
        return True

    def ring(self, vector: int) -> None:
        """Ring the front-end's absolute vector; nothing happens while nobody knows which peer it is."""
        target = self._target()
        if target is not None:
            self._client.ringer(target).ring(vector)

    def bell(self, vector: int) -> Rope:
        """The eventfd of the front-end's vector as it is now."""
        target = self._target()
        if target is None:
            return Rope(-1, 0)
        descriptor, version = self._client.ringer(target).bell(vector)
        return Rope(descriptor, (target + 1 << 32) + version)

    def _target(self) -> int | None:
        if self.claimed is not None and self._client.is_other_peer(self.claimed):
            return self.claimed
        peers = self._client.peers
        return peers[0] if len(peers) == 1 else None
