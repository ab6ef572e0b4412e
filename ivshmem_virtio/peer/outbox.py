# SPDX-License-Identifier: MIT
"""Messages on their way to one client, which may be slow or silent without anybody else noticing."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ivshmem_virtio.peer.descriptor import SharedDescriptor
from ivshmem_virtio.peer.wire import ancillary, encode

# Descriptors inside sockets count against RLIMIT_NOFILE of the sender (unix(7), ETOOMANYREFS), for all clients
# together. The least send buffer there is keeps what one silent client can hold there to a handful; the rest waits in
# the queue, where it costs nothing.
SEND_BUFFER = 1
RETRY_SECONDS = 0.1

Progress = Callable[[int, bool], None]
"""Told before and after each message: how many the client got as a whole, and whether the next is being sent."""


@dataclass
class Outgoing:
    """A message, or what is left of it. The descriptor goes with the first byte."""

    data: bytes
    descriptor: SharedDescriptor | None


def tell_nobody(sent: int, sending: bool) -> None:
    """Progress of a client that no successor of this process will know."""


class Outbox:
    """A queue in front of a non-blocking socket; ``on_failure`` is told, later and once, why it gave up."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: socket.socket,
        on_failure: Callable[[str], None],
        *,
        progress: Progress = tell_nobody,
        sent: int = 0,
        waiting: Iterable[Outgoing] = (),
    ) -> None:
        """``sent`` and ``waiting`` are what an earlier process left to do."""
        self._loop = loop
        self._stream = stream
        self._on_failure = on_failure
        self._progress = progress
        self._sent = sent
        self._queue: deque[Outgoing] = deque(waiting)
        self._limit: int | None = None
        self._writing = False
        self._retry: asyncio.TimerHandle | None = None
        self._dead = False
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    @property
    def sent(self) -> int:
        """How many messages have been sent as a whole."""
        return self._sent

    @property
    def waiting(self) -> Sequence[Outgoing]:
        """What has still to be sent, in order."""
        return tuple(self._queue)

    def limit(self, messages: int) -> None:
        """Give up as soon as ``messages`` more than those waiting now are waiting (the handshake may be long)."""
        self._limit = len(self._queue) + messages

    def put(self, value: int, descriptor: SharedDescriptor | None = None) -> None:
        """Queue a message; nothing is sent before ``flush``."""
        if not self._dead:
            self._queue.append(Outgoing(encode(value), descriptor))

    def flush(self) -> None:
        """Send now what can be sent now, keep the rest; never blocks, never raises for the client's sake."""
        if self._dead:
            return
        if not self._writing and self._retry is None:
            self._flush()
        if self._limit is not None and len(self._queue) > self._limit:
            self._fail(f"does not read: {len(self._queue)} messages are waiting for it")

    def close(self) -> None:
        """Forget everything; the socket is not closed."""
        self._dead = True
        self._queue.clear()
        self._stop_writing()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _flush(self) -> None:
        self._retry = None
        while self._queue:
            message = self._queue[0]
            self._progress(self._sent, True)
            try:
                sent = self._stream.sendmsg(
                    [message.data], ancillary(message.descriptor.number) if message.descriptor else []
                )
            except BlockingIOError:
                self._progress(self._sent, False)
                self._start_writing()
                return
            except ConnectionError:
                # The end of the stream tells the same to whoever reads it.
                self.close()
                return
            except OSError as error:
                self._progress(self._sent, False)
                self._sending_failed(error)
                return
            message.data = message.data[sent:]
            message.descriptor = None
            if not message.data:
                self._queue.popleft()
                self._sent += 1
                self._progress(self._sent, False)
        self._stop_writing()

    def _sending_failed(self, error: OSError) -> None:
        if error.errno not in (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM):
            self._fail(f"cannot be written to: {error.strerror}")
            return
        # The socket may be writable, so waiting for that would spin.
        self._stop_writing()
        self._retry = self._loop.call_later(RETRY_SECONDS, self._flush)

    def _fail(self, reason: str) -> None:
        self.close()
        # Not from inside a broadcast: dropping a client is a broadcast of its own.
        self._loop.call_soon(self._on_failure, reason)

    def _start_writing(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._stream, self._flush)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._stream)
