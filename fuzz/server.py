# SPDX-License-Identifier: MIT
"""An ivshmem-server whose clients come, go, write, do not read, and take each other's places."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress

from fuzz.descriptors import none_left_open
from fuzz.script import Script
from fuzz.turns import LOOP, turn
from fuzz.unexpected import fail_on_traceback
from ivshmem_virtio.link.layout import PAGE_SIZE, LinkLayout
from ivshmem_virtio.peer.errors import PeerError
from ivshmem_virtio.peer.server import IvshmemServer
from ivshmem_virtio.peer.wire import MESSAGE_SIZE

LOG = fail_on_traceback()
GUEST, BACKEND = 1, 0
LINKS = ((LinkLayout("one", 2, 2 * PAGE_SIZE, 2 * PAGE_SIZE, 0, 2, 0, 2, BACKEND), GUEST),
         (LinkLayout("two", 2, 5 * PAGE_SIZE, 2 * PAGE_SIZE, 0, 2, 0, 2, BACKEND), None))  # fmt: skip
MOST_CLIENTS = 8


class Room:
    """A server, and everybody who talks to it. Sockets are handed to it as its listeners would."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.memory = os.memfd_create("ivshmem-virtio-fuzz")
        os.ftruncate(self.memory, script.below(3) * 4 * PAGE_SIZE)
        self.server = IvshmemServer(self.memory, loop=LOOP, links=lambda: LINKS, outbox_limit=1 + script.below(64))
        self.guest = self.server._new_peer(GUEST, 1 + script.below(3), fixed=True)
        self.clients: list[socket.socket] = []

    def connect(self, accept: Callable[[socket.socket], None]) -> None:
        if len(self.clients) >= MOST_CLIENTS:
            return
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        self.clients.append(far)
        accept(near)

    def guest_connects(self) -> None:
        self.connect(lambda stream: self.server._guest_connects(self.guest, stream))

    def stranger_connects(self) -> None:
        vectors = 1 + self.script.below(4)
        self.connect(lambda stream: self.server._stranger_connects(vectors, stream))

    def local_peer(self) -> None:
        """Comes, or leaves."""
        with suppress(PeerError):
            if self.script.byte() & 1:
                self.server.add_local_peer(self.script.below(4), self.script.below(4))
            else:
                self.server.remove_local_peer(self.script.below(4))

    def some_client(self) -> socket.socket | None:
        return self.script.choose(self.clients) if self.clients else None

    def write(self) -> None:
        """What no client may do."""
        client = self.some_client()
        if client is not None:
            with suppress(OSError):
                client.send(self.script.bytes(1 + self.script.below(16)))

    def read(self) -> None:
        """Some of what the server sent, in pieces of any length."""
        client = self.some_client()
        if client is None:
            return
        with suppress(OSError):
            _, descriptors, _, _ = socket.recv_fds(client, 1 + self.script.below(2 * MESSAGE_SIZE), 4)
            for descriptor in descriptors:
                os.close(descriptor)

    def leave(self) -> None:
        client = self.some_client()
        if client is not None:
            self.clients.remove(client)
            client.close()

    def bury(self) -> None:
        with suppress(PeerError):
            self.server.mark_absent(self.script.below(4))

    def turn(self) -> None:
        turn(1 + self.script.below(4))

    def run(self) -> None:
        steps = (
            Room.guest_connects, Room.stranger_connects, Room.local_peer, Room.write, Room.read, Room.leave,
            Room.bury, Room.turn,
        )  # fmt: skip
        try:
            while self.script.more:
                self.script.choose(steps)(self)
                present = self.server.peers
                assert len(set(present)) == len(present)
        finally:
            self.close()

    def close(self) -> None:
        turn(4)
        self.server.close()
        for client in self.clients:
            client.close()
        os.close(self.memory)
        turn(4)
        LOG.check()


def run(data: bytes) -> None:
    """One server."""
    with none_left_open():
        room = Room(Script(data))
        room.run()
        del room
