# SPDX-License-Identifier: MIT
"""An ivshmem-server (protocol 0) with fixed ids for guests: it hands out memory and eventfds, and buries the dead.

It knows no virtio and never maps the region.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from ivshmem_virtio.link.layout import BACKEND, FRONTEND, LinkLayout
from ivshmem_virtio.link.state_table import StateTableOutsideMemory, zero_entry
from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.peer.descriptor import SharedDescriptor
from ivshmem_virtio.peer.errors import PeerIdOutOfRange, PeerIdTaken, UnknownPeer, VectorCountOutOfRange
from ivshmem_virtio.peer.listener import Listener, still_ours
from ivshmem_virtio.peer.outbox import Outbox, Outgoing
from ivshmem_virtio.peer.sent_ledger import SentLedger
from ivshmem_virtio.peer.served_peer import Connection, Peer
from ivshmem_virtio.peer.server_record import Files, PeerRecord, client_name, record_of, revive, still_to_send
from ivshmem_virtio.peer.wire import LARGEST_ID, MOST_VECTORS, PROTOCOL_VERSION, REFUSAL, SHARED_MEMORY, encode

log = logging.getLogger(__name__)

OUTBOX_LIMIT = 4096
"""Messages that may wait for a client after its handshake, before it is dropped."""

LinkSource = Callable[[], Iterable[tuple[LinkLayout, int | None]]]
"""Each link of the region with the peer id of its front-end; None: any peer but the back-end."""


def no_links() -> Iterable[tuple[LinkLayout, int | None]]:
    return ()


class IvshmemServer:
    """Serves one region to its peers; lives on one event loop. ``memory`` stays the caller's.

    Whoever can keep ``record`` for a successor of this process gives ``on_change``: it is told before a client is told.
    """

    def __init__(
        self,
        memory: int,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        links: LinkSource = no_links,
        on_join: Callable[[int], None] | None = None,
        on_leave: Callable[[int], None] | None = None,
        on_change: Callable[[], None] | None = None,
        outbox_limit: int = OUTBOX_LIMIT,
    ) -> None:
        self._memory = SharedDescriptor.borrowed(memory)
        self._loop = loop or asyncio.get_running_loop()
        self._links = links
        self._on_join = on_join
        self._on_leave = on_leave
        self._on_change = on_change
        self._outbox_limit = outbox_limit
        self._peers: dict[int, Peer] = {}
        self._open_listeners: list[Listener] = []
        self._next_id = 0

    # What can join.

    def add_guest(
        self,
        name: str,
        path: Path,
        peer_id: int,
        vectors: int,
        *,
        mode: int = 0o600,
        owner: Owner | None = None,
        inherited: socket.socket | None = None,
    ) -> None:
        """A socket for one client at a time, which always is peer ``peer_id`` with the same eventfds.

        ``inherited`` is a socket that listens at ``path`` already (socket activation).

        Raises PeerIdTaken, PeerIdOutOfRange, VectorCountOutOfRange and what Listener raises.
        """
        peer = self._new_peer(peer_id, vectors, fixed=True)
        peer.name = name
        try:
            peer.listener = self._listen(path, partial(self._guest_connects, peer), mode, owner, inherited)
            peer.ledger = SentLedger.new() if self._on_change is not None else None
        except BaseException:
            del self._peers[peer_id]
            raise

    def add_open_socket(self, path: Path, vectors: int, *, mode: int = 0o600, owner: Owner | None = None) -> None:
        """A socket for any number of clients, each with a new id.

        Raises VectorCountOutOfRange and what Listener raises.
        """
        check_vectors(vectors)
        self._open_listeners.append(self._listen(path, partial(self._stranger_connects, vectors), mode, owner))

    def add_local_peer(self, peer_id: int, vectors: int) -> list[int]:
        """A peer that is no client of a socket; joins at once. Returns its eventfds, which stay the server's.

        Its id and eventfds stay when it is removed, so that its successor gets them again: call this again with the
        same numbers. Raises PeerIdTaken, PeerIdOutOfRange and VectorCountOutOfRange.
        """
        peer = self._peers.get(peer_id)
        if peer is None or not peer.local or peer.present or len(peer.vectors) != vectors:
            peer = self._new_peer(peer_id, vectors, fixed=True)
            peer.local = True
        self._join(peer)
        self._publish()
        return self.doorbells(peer_id)

    def remove_local_peer(self, peer_id: int) -> None:
        """The local peer is gone, and its successor may be long in coming: tell the others; raises UnknownPeer."""
        peer = self._peer(peer_id)
        if not peer.local or not peer.present:
            raise UnknownPeer(f"peer {peer_id} is no local peer that is present")
        self._leave(peer)
        self._publish()

    # What outlives this process.

    def record(self) -> tuple[list[PeerRecord], Files]:
        """Every fixed peer with its client and what that one has still to be told. Descriptors stay the server's."""
        return record_of(self._peers.values())

    def restore(
        self,
        name: str,
        records: Iterable[PeerRecord],
        files: Files,
        *,
        mode: int = 0o600,
        owner: Owner | None = None,
        inherited: socket.socket | None = None,
    ) -> None:
        """Go on where another process ended: the same ids, doorbells, sockets and clients. Takes the descriptors.

        ``name``, ``mode``, ``owner`` and ``inherited`` are those of the guest, as for ``add_guest``; raises what
        Listener raises.
        """
        records = list(records)
        for record in records:
            self._peers[record["id"]] = revive(record, files)
        for record in records:
            peer = self._peers[record["id"]]
            if "listener" in record:
                peer.name = name
                kept = socket.socket(fileno=files[record["listener"]["file"]])
                peer.listener = self._listen_again(peer, record["listener"], kept, mode, owner, inherited)
            if "client" in record:
                self._welcome_back(peer, record, files)
        self._publish()

    def let_go(self) -> None:
        """From here on a successor serves what ``record`` said: do nothing more, tell nobody, remove nothing."""
        for peer in self._peers.values():
            if peer.listener is not None:
                peer.listener.let_go()
            if peer.connection is not None:
                peer.connection.outbox.close()
                self._loop.remove_reader(peer.connection.stream)

    # What is there.

    def doorbells(self, peer_id: int) -> list[int]:
        """The eventfds of a peer by vector, open while it exists (fixed: while the server does); raises UnknownPeer."""
        return [vector.number for vector in self._peer(peer_id).vectors]

    def present(self, peer_id: int) -> bool:
        """Whether a peer of this id is connected, or local and not removed."""
        peer = self._peers.get(peer_id)
        return peer is not None and peer.present

    @property
    def peers(self) -> list[int]:
        """The ids that are present, in ascending order."""
        return sorted(peer.peer_id for peer in self._peers.values() if peer.present)

    # The end.

    def mark_absent(self, peer_id: int) -> None:
        """Zero a peer's State Table entries and ring the other sides; the peer itself stays as it is."""
        for link, frontend in self._links():
            if peer_id == link.backend_peer:
                self._zero(link, BACKEND)
                for other in self._frontends(link, frontend):
                    other.ring(link.frontend_vector)
            elif self._is_frontend(peer_id, link, frontend):
                self._zero(link, FRONTEND)
                if link.backend_peer in self._peers:
                    self._peers[link.backend_peer].ring(link.backend_vector)

    def close(self) -> None:
        """Drop everybody without a word and remove the sockets. No State Table entry is touched."""
        for listener in self._open_listeners:
            listener.close()
        self._open_listeners.clear()
        for peer in self._peers.values():
            if peer.listener is not None:
                peer.listener.close()
            self._hang_up(peer)
            peer.close()
        self._peers.clear()

    # Joining.

    def _listen(
        self,
        path: Path,
        accepted: Callable[[socket.socket], None],
        mode: int,
        owner: Owner | None,
        inherited: socket.socket | None = None,
        inode: int | None = None,
    ) -> Listener:
        return Listener(self._loop, path, accepted, log.error, mode=mode, owner=owner, inherited=inherited, inode=inode)

    def _listen_again(
        self,
        peer: Peer,
        record: PeerRecord,
        kept: socket.socket,
        mode: int,
        owner: Owner | None,
        inherited: socket.socket | None,
    ) -> Listener:
        """On the socket of before, unless its path leads to another one by now."""
        path, inode = Path(record["path"]), record["inode"]
        accepted = partial(self._guest_connects, peer)
        if inherited is None and (inode is None or still_ours(path, inode)):
            return self._listen(path, accepted, mode, owner, kept, inode)
        kept.close()
        return self._listen(path, accepted, mode, owner, inherited)

    def _welcome_back(self, peer: Peer, record: PeerRecord, files: Files) -> None:
        """A client of before; one that nobody can say how much it was told is let go."""
        stream = socket.socket(fileno=files[client_name(peer.peer_id, peer.generation)])
        sent = peer.ledger.read(peer.generation) if peer.ledger is not None else None
        # A ledger of before this record was made has nothing to add to it.
        sent = max(sent, record["client"]["sent"]) if sent is not None else None
        waiting = still_to_send(record, sent, self._peers, self._memory) if sent is not None else []
        peer.connection = self._connection(peer, stream, f"guest {peer.name}", sent or 0, waiting)
        peer.present = True
        if sent is None:
            self._drop(peer, "let go, a message to it may have been sent or not when its server was killed")
        else:
            peer.connection.outbox.limit(self._outbox_limit)

    def _guest_connects(self, peer: Peer, stream: socket.socket) -> None:
        if peer.present and peer.connection is not None and has_hung_up(peer.connection.stream):
            # A restarted QEMU may be here before the end of its predecessor has been noticed.
            self._drop(peer, "left")
        if peer.present:
            log.warning("guest %s: second client refused, peer %d is connected", peer.name, peer.peer_id)
            refuse(stream)
            return
        self._connect(peer, stream, f"guest {peer.name}")

    def _stranger_connects(self, vectors: int, stream: socket.socket) -> None:
        peer_id = self._free_id()
        if peer_id is None:
            log.warning("client refused: all %d ids are taken", LARGEST_ID + 1)
            refuse(stream)
            return
        try:
            peer = self._new_peer(peer_id, vectors, fixed=False)
        except OSError as error:
            log.error("client refused: cannot make its eventfds: %s", error.strerror)
            refuse(stream)
            return
        self._connect(peer, stream, "client")

    def _connect(self, peer: Peer, stream: socket.socket, name: str) -> None:
        peer.generation += 1
        peer.connection = self._connection(peer, stream, name)
        outbox = peer.connection.outbox
        outbox.put(PROTOCOL_VERSION)
        outbox.put(peer.peer_id)
        outbox.put(SHARED_MEMORY, self._memory)
        others = self._others(peer)
        self._join(peer)
        for other in others:
            for vector in other.vectors:
                outbox.put(other.peer_id, vector)
        for vector in peer.vectors:
            outbox.put(peer.peer_id, vector)
        self._publish()
        outbox.limit(self._outbox_limit)

    def _connection(
        self, peer: Peer, stream: socket.socket, name: str, sent: int = 0, waiting: Iterable[Outgoing] = ()
    ) -> Connection:
        failed = partial(self._cannot_send, peer, stream)
        outbox = Outbox(self._loop, stream, failed, progress=peer.note_sent, sent=sent, waiting=waiting)
        self._loop.add_reader(stream, self._client_speaks, peer)
        return Connection(stream, outbox, name)

    def _publish(self) -> None:
        """Have what is queued kept, then send it: a successor must not know less than a client."""
        if self._on_change is not None:
            self._on_change()
        for peer in list(self._peers.values()):
            if peer.connection is not None:
                peer.connection.outbox.flush()

    def _join(self, peer: Peer) -> None:
        peer.present = True
        for other in self._others(peer):
            if other.connection is not None:
                for vector in peer.vectors:
                    other.connection.outbox.put(peer.peer_id, vector)
        log.info("%s joined as peer %d with %d vectors", self._name(peer), peer.peer_id, len(peer.vectors))
        if self._on_join is not None:
            self._on_join(peer.peer_id)

    def _client_speaks(self, peer: Peer) -> None:
        """A client has nothing to say: data is as final as the end of the stream."""
        if peer.connection is None:
            return
        try:
            data = peer.connection.stream.recv(64)
        except BlockingIOError:
            return
        except OSError:
            # It closed the connection without having read everything.
            data = b""
        self._drop(peer, f"dropped, it wrote {len(data)} bytes where the protocol has none" if data else "left")

    # Leaving.

    def _drop(self, peer: Peer, reason: str) -> None:
        if peer.connection is None:
            return
        log.log(
            logging.INFO if reason == "left" else logging.WARNING,
            "%s, peer %d: %s",
            self._name(peer),
            peer.peer_id,
            reason,
        )
        self._hang_up(peer)
        self._leave(peer)
        self._publish()

    def _cannot_send(self, peer: Peer, stream: socket.socket, reason: str) -> None:
        """Said with a delay: by now another client may be there."""
        if peer.connection is not None and peer.connection.stream is stream:
            self._drop(peer, f"dropped, it {reason}")

    def _hang_up(self, peer: Peer) -> None:
        connection, peer.connection = peer.connection, None
        if connection is not None:
            connection.outbox.close()
            self._loop.remove_reader(connection.stream)
            connection.stream.close()

    def _leave(self, peer: Peer) -> None:
        peer.present = False
        if not peer.fixed:
            del self._peers[peer.peer_id]
        for other in self._others(peer):
            if other.connection is not None:
                other.connection.outbox.put(peer.peer_id)
        self.mark_absent(peer.peer_id)
        if self._on_leave is not None:
            self._on_leave(peer.peer_id)

    def _zero(self, link: LinkLayout, index: int) -> None:
        try:
            zero_entry(self._memory.number, link, index)
        except (StateTableOutsideMemory, OSError) as error:
            log.error("cannot zero a State Table entry: %s", error)

    def _frontends(self, link: LinkLayout, frontend: int | None) -> list[Peer]:
        if frontend is not None:
            return [self._peers[frontend]] if frontend in self._peers else []
        return [peer for peer in self._peers.values() if peer.present and peer.peer_id != link.backend_peer]

    def _is_frontend(self, peer_id: int, link: LinkLayout, frontend: int | None) -> bool:
        """Whether a peer that left was the front-end; where nobody knows, it was if nobody else can be."""
        if frontend is not None:
            return peer_id == frontend
        return not any(other.peer_id != peer_id for other in self._frontends(link, None))

    # Peers.

    def _new_peer(self, peer_id: int, vectors: int, *, fixed: bool) -> Peer:
        if not 0 <= peer_id <= LARGEST_ID:
            raise PeerIdOutOfRange(f"peer id {peer_id}: must be 0 to {LARGEST_ID}")
        if peer_id in self._peers:
            raise PeerIdTaken(f"peer id {peer_id} is taken; every peer of a region has its own")
        check_vectors(vectors)
        peer = Peer(peer_id, [SharedDescriptor.eventfd() for _ in range(vectors)], fixed)
        self._peers[peer_id] = peer
        return peer

    def _peer(self, peer_id: int) -> Peer:
        if peer_id not in self._peers:
            raise UnknownPeer(f"there is no peer {peer_id}")
        return self._peers[peer_id]

    def _others(self, peer: Peer) -> list[Peer]:
        return [other for other in self._peers.values() if other.present and other is not peer]

    def _free_id(self) -> int | None:
        """The next id after the last one given: an id that was just left is not mistaken for its successor."""
        for step in range(LARGEST_ID + 1):
            peer_id = (self._next_id + step) & LARGEST_ID
            if peer_id not in self._peers:
                self._next_id = (peer_id + 1) & LARGEST_ID
                return peer_id
        return None

    @staticmethod
    def _name(peer: Peer) -> str:
        return peer.connection.name if peer.connection is not None else "local"


def check_vectors(vectors: int) -> None:
    """Raise VectorCountOutOfRange unless a peer may have so many vectors."""
    if not 1 <= vectors <= MOST_VECTORS:
        raise VectorCountOutOfRange(f"{vectors} vectors: must be 1 to {MOST_VECTORS}, as MSI-X has")


def has_hung_up(stream: socket.socket) -> bool:
    """Whether the other end is closed, although the event loop has not said so yet."""
    try:
        return stream.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def refuse(stream: socket.socket) -> None:
    """Close a connection so that QEMU says so and ends: without a version to complain about it would spin for ever."""
    with stream:
        try:
            stream.send(encode(REFUSAL))
        except OSError:
            return
