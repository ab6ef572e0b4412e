# SPDX-License-Identifier: MIT
"""A peer that is a client of an ivshmem-server, protocol 0: ours, QEMU's example, or any other."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from ivshmem_virtio.peer.doorbells import Doorbells
from ivshmem_virtio.peer.errors import (
    MemoryUnusable,
    MissingDescriptor,
    OwnIdLeft,
    PeerError,
    SecondMemory,
    ServerClosed,
    ServerRefuses,
    ServerSilent,
    ServerUnreachable,
    TooManyVectors,
    UnexpectedDescriptor,
    ValueOutOfRange,
    WrongVersion,
)
from ivshmem_virtio.peer.wire import (
    LARGEST_ID,
    MOST_VECTORS,
    PROTOCOL_VERSION,
    REFUSAL,
    SHARED_MEMORY,
    VALUE,
    Message,
    Receiver,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

HANDSHAKE_SECONDS = 5.0
# Nothing on the wire says that the own vectors are complete; a server sends them in one go.
SETTLE_SECONDS = 0.2


class IvshmemClient:
    """One peer of a region. Owns its connection, the memory descriptor and every eventfd it was given.

    After ``attach`` nothing is read until ``poll`` is called or a loop is told to ``watch``. A server that goes away
    leaves memory and doorbells working; ``connected`` tells.
    """

    def __init__(
        self,
        stream: socket.socket,
        *,
        on_join: Callable[[int], None] | None = None,
        on_leave: Callable[[int], None] | None = None,
        on_lost: Callable[[PeerError], None] | None = None,
    ) -> None:
        """Takes a connected socket, as ``attach`` does. ``on_join`` is called for every new vector of a peer."""
        self.peer_id = -1
        self.memory = -1
        self.memory_size = 0
        self.connected = True
        self._stream = stream
        self._receiver = Receiver(stream)
        self._vectors: dict[int, list[int]] = {}
        self._doorbells: dict[int, Doorbells] = {}
        self._on_join = on_join
        self._on_leave = on_leave
        self._on_lost = on_lost
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def attach(
        cls,
        path: Path,
        *,
        vectors: int | None = None,
        timeout: float = HANDSHAKE_SECONDS,
        on_join: Callable[[int], None] | None = None,
        on_leave: Callable[[int], None] | None = None,
        on_lost: Callable[[PeerError], None] | None = None,
    ) -> IvshmemClient:
        """Connect and go through the handshake, within ``timeout`` seconds.

        With ``vectors``, waits for that many own eventfds, else until no more come. Raises ServerUnreachable,
        ServerRefuses, ServerSilent, ServerClosed, MemoryUnusable and WireError of every kind.
        """
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(timeout)
        try:
            stream.connect(os.fspath(path))
        except OSError as error:
            stream.close()
            reason = error.strerror or str(error)
            raise ServerUnreachable(f"no ivshmem-server at {path}: {reason}; is it running?") from error
        client = cls(stream, on_join=on_join, on_leave=on_leave, on_lost=on_lost)
        try:
            client._handshake(time.monotonic() + timeout, vectors)
        except BaseException:
            client.close()
            raise
        return client

    # What there is.

    @property
    def peers(self) -> list[int]:
        """Ids of the other peers, in ascending order."""
        return sorted(peer_id for peer_id in self._vectors if peer_id != self.peer_id)

    @property
    def own_vectors(self) -> list[int]:
        """The own eventfds by vector, to wait on."""
        return list(self._vectors.get(self.peer_id, ()))

    def doorbells(self, peer_id: int) -> list[int]:
        """The eventfds of a peer by vector, to write to; empty where there is no such peer."""
        return list(self._vectors.get(peer_id, ()))

    def ringer(self, peer_id: int) -> Doorbells:
        """The doorbells of a peer that may come and go: always those it has now."""
        if peer_id not in self._doorbells:
            self._doorbells[peer_id] = Doorbells(self.doorbells(peer_id))
        return self._doorbells[peer_id]

    def is_other_peer(self, peer_id: int) -> bool:
        """Whether a connected peer, not this one, has this id."""
        return peer_id != self.peer_id and peer_id in self._vectors

    # Reading.

    def fileno(self) -> int:
        """The connection, readable when ``poll`` has something to do."""
        return self._stream.fileno()

    def poll(self) -> None:
        """Take in every message that has come; never blocks.

        Raises ServerClosed when the server is gone and WireError when it talks nonsense: either way ``connected`` is
        false from then on, and what is known stays usable.
        """
        if not self.connected:
            return
        self._stream.setblocking(False)
        try:
            while True:
                self._take(self._next())
        except BlockingIOError:
            return
        except PeerError:
            self._disconnect()
            raise

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Poll from ``loop`` whenever there is something; what ``poll`` would raise goes to ``on_lost``."""
        self._loop = loop
        loop.add_reader(self._stream, self._poll_from_loop)

    def _poll_from_loop(self) -> None:
        try:
            self.poll()
        except PeerError as error:
            log.warning("%s", error)
            if self._on_lost is not None:
                self._on_lost(error)

    def wait_for_peer(self, peer_id: int, timeout: float, vectors: int = 1) -> None:
        """Poll until a peer has joined with so many vectors; raises ServerSilent and what ``poll`` raises."""
        deadline = time.monotonic() + timeout
        while len(self.doorbells(peer_id)) < vectors:
            if not self._readable(deadline):
                raise ServerSilent(f"peer {peer_id} with {vectors} vectors did not join within {timeout:g} s")
            self.poll()

    # The handshake.

    def _handshake(self, deadline: float, vectors: int | None) -> None:
        self._read_version(deadline)
        self._read_own_id(deadline)
        while self.memory < 0:
            message = self._before(deadline, "the shared memory")
            if message.value == SHARED_MEMORY:
                self._take_memory(message)
            else:
                self._take(message)
        self._read_own_vectors(deadline, vectors)

    def _read_version(self, deadline: float) -> None:
        data, descriptor = self._raw_before(deadline, "its protocol version")
        Message(0, descriptor).close()
        version = int(VALUE.unpack(data)[0])
        if version == REFUSAL:
            raise ServerRefuses("the server refuses: another client is connected to this socket")
        if version != PROTOCOL_VERSION:
            raise WrongVersion(f"the server speaks protocol version {version}; this program speaks {PROTOCOL_VERSION}")
        if descriptor is not None:
            raise UnexpectedDescriptor("the server sent a file descriptor with its protocol version")

    def _read_own_id(self, deadline: float) -> None:
        message = self._before(deadline, "the own peer id")
        message.close()
        if message.value == SHARED_MEMORY:
            raise ValueOutOfRange(f"the server sent -1 as the own peer id; must be 0 to {LARGEST_ID}")
        if message.descriptor is not None:
            raise UnexpectedDescriptor("the server sent a file descriptor with the own peer id")
        self.peer_id = message.value

    def _take_memory(self, message: Message) -> None:
        if message.descriptor is None:
            raise MissingDescriptor("the server announced the shared memory without a file descriptor")
        self.memory = message.descriptor
        self.memory_size = os.fstat(self.memory).st_size
        if self.memory_size <= 0:
            raise MemoryUnusable(f"the server's shared memory has {self.memory_size} bytes")

    def _read_own_vectors(self, deadline: float, vectors: int | None) -> None:
        while vectors is None or len(self.own_vectors) < vectors:
            settled = vectors is None and bool(self.own_vectors)
            try:
                until = min(deadline, time.monotonic() + SETTLE_SECONDS) if settled else deadline
                self._take(self._before(until, f"{vectors or 'the'} own vectors"))
            except ServerSilent:
                if settled:
                    return
                raise

    def _before(self, deadline: float, what: str) -> Message:
        """The next message, interpreted; raises ServerSilent at the deadline."""
        return self._wait(deadline, what, self._next)

    def _raw_before(self, deadline: float, what: str) -> tuple[bytes, int | None]:
        return self._wait(deadline, what, self._next_raw)

    def _wait(self, deadline: float, what: str, receive: Callable[[], T]) -> T:
        self._stream.setblocking(False)
        while True:
            try:
                return receive()
            except BlockingIOError:
                if not self._readable(deadline):
                    raise ServerSilent(f"the server accepted, but did not send {what} in time") from None

    def _readable(self, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self._stream, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    # Messages.

    def _next_raw(self) -> tuple[bytes, int | None]:
        try:
            raw = self._receiver.receive_raw()
        except ConnectionError as error:
            raise ServerClosed(f"the connection to the server broke: {error.strerror}") from error
        if raw is None:
            raise ServerClosed("the server closed the connection")
        return raw

    def _next(self) -> Message:
        data, descriptor = self._next_raw()
        return Message.of(data, descriptor)

    def _take(self, message: Message) -> None:
        """A message after the own id: memory, one more vector of a peer, or its end."""
        if message.value == SHARED_MEMORY:
            message.close()
            raise SecondMemory("the server announced the shared memory a second time")
        if message.descriptor is None:
            self._peer_left(message.value)
        else:
            self._vector_came(message.value, message.descriptor)

    def _vector_came(self, peer_id: int, descriptor: int) -> None:
        vectors = self._vectors.setdefault(peer_id, [])
        if len(vectors) >= MOST_VECTORS:
            os.close(descriptor)
            raise TooManyVectors(f"the server gave peer {peer_id} more than {MOST_VECTORS} vectors")
        os.set_blocking(descriptor, False)
        vectors.append(descriptor)
        if peer_id in self._doorbells:
            self._doorbells[peer_id].replace(vectors)
        if self._on_join is not None and peer_id != self.peer_id:
            self._on_join(peer_id)

    def _peer_left(self, peer_id: int) -> None:
        if peer_id == self.peer_id:
            raise OwnIdLeft(f"the server says that peer {peer_id} left, which is this one")
        vectors = self._vectors.pop(peer_id, None)
        if vectors is None:
            # QEMU's example server drops messages that a full socket has no room for, so this may be true.
            log.warning("peer %d left, which was never announced", peer_id)
            return
        if peer_id in self._doorbells:
            self._doorbells[peer_id].replace(())
        close_all(vectors)
        if self._on_leave is not None:
            self._on_leave(peer_id)

    # The end.

    def _disconnect(self) -> None:
        self.connected = False
        if self._loop is not None:
            self._loop.remove_reader(self._stream)
            self._loop = None
        self._receiver.close()

    def close(self) -> None:
        """Leave: close the connection, the memory descriptor and every eventfd. May be called twice."""
        self._disconnect()
        self._stream.close()
        for ringer in self._doorbells.values():
            ringer.replace(())
        for vectors in self._vectors.values():
            close_all(vectors)
        self._vectors.clear()
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
