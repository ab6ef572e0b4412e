# SPDX-License-Identifier: MIT
"""What a server knows of one peer: its id, its doorbells, and the client that is it at the moment."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from ivshmem_virtio.peer.descriptor import SharedDescriptor
from ivshmem_virtio.peer.doorbells import ring_eventfd
from ivshmem_virtio.peer.listener import Listener
from ivshmem_virtio.peer.outbox import Outbox
from ivshmem_virtio.peer.sent_ledger import SentLedger


@dataclass
class Connection:
    """A client that is there."""

    stream: socket.socket
    outbox: Outbox
    name: str


@dataclass
class Peer:
    """An id with its eventfds. ``fixed`` peers keep both while nobody is connected.

    A guest's peer has a name and a listener. ``generation`` counts its clients, and ``ledger`` notes how far the
    present one has been told everything, where a later process may have to know.
    """

    peer_id: int
    vectors: list[SharedDescriptor]
    fixed: bool
    local: bool = False
    present: bool = False
    connection: Connection | None = field(default=None, repr=False)
    name: str = ""
    listener: Listener | None = field(default=None, repr=False)
    ledger: SentLedger | None = field(default=None, repr=False)
    generation: int = 0

    def ring(self, vector: int) -> None:
        """Interrupt the peer; a vector that it does not have is nothing."""
        if 0 <= vector < len(self.vectors):
            ring_eventfd(self.vectors[vector].number)

    def note_sent(self, sent: int, sending: bool) -> None:
        """How far the present client is."""
        if self.ledger is not None:
            self.ledger.write(self.generation, sent, sending=sending)

    def close(self) -> None:
        """Give back what does not go with the last reference."""
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None
