# SPDX-License-Identifier: MIT
"""Frames over a unix stream socket, each after its length in four big-endian bytes.

passt speaks this, and so does QEMU's ``-netdev stream``.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Sequence

from ivshmem_virtio.core import NetLine
from ivshmem_virtio.devices.net_header import LONGEST_FRAME
from ivshmem_virtio.devices.net_line import LineVia
from ivshmem_virtio.devices.net_via import Port, ViaError
from ivshmem_virtio.devices.net_workers import Workers
from ivshmem_virtio.devices.resource import Access, Resource

FIRST_RETRY = 0.1
LONGEST_RETRY = 2.0
"""Seconds between attempts to connect: quick at first, for a peer that restarts."""


class StreamVia(LineVia):
    """One peer at ``path``: we connect, again and again, or ``listen`` for it. The link is up while it is connected.

    The protocol carries no offload header, so none is offered.
    """

    def __init__(self, path: str, workers: Workers, *, listen: bool = False) -> None:
        super().__init__(workers, framed=True)
        self.path = path
        self.listen = listen
        self._log = logging.getLogger("ivshmem_virtio.net.stream")
        self._listener: socket.socket | None = None
        self._socket: socket.socket | None = None
        self._retry: TimerHandle | None = None
        self._delay = FIRST_RETRY

    # -- connection ---------------------------------------------------------------------------------------------------

    @property
    def resources(self) -> Sequence[Resource]:
        """The socket."""
        return [Resource(self.path, Access.LISTEN if self.listen else Access.CONNECT)]

    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        super().open(loop, port)
        if self.listen:
            self._listener = listener_at(self.path)
            loop.add_reader(self._listener, self._accept)
        else:
            self._connect()

    def close(self) -> None:
        self._disconnect()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener is not None and self._loop is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            os.unlink(self.path)
        super().close()

    def _connect(self) -> None:
        assert self._loop is not None
        self._retry = None
        attempt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            attempt.connect(self.path)
        except OSError as error:
            attempt.close()
            if error.errno is None:
                raise ViaError(f"stream {self.path!r}: {error}") from error
            self._retry_later(error.strerror or str(error))
        else:
            self._connected(attempt)

    def _retry_later(self, reason: str) -> None:
        assert self._loop is not None
        if self._delay == FIRST_RETRY:
            self._log.info("%s: not connected (%s); trying again until it is", self.path, reason)
        self._retry = self._loop.call_later(self._delay, self._connect)
        self._delay = min(2 * self._delay, LONGEST_RETRY)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            peer, _ = self._listener.accept()
        except OSError as error:
            self._log.warning("%s: accept failed: %s", self.path, error.strerror)
            return
        peer.setblocking(False)
        if self._socket is not None:
            self._log.warning("%s: a second peer was refused; one is connected", self.path)
            peer.close()
            return
        self._connected(peer)

    def _connected(self, peer: socket.socket) -> None:
        self._log.info("%s: connected", self.path)
        self._socket = peer
        self._delay = FIRST_RETRY
        self._attach(peer.fileno())

    def gone(self, line: NetLine) -> None:
        if line.failure < 0:
            self._lost(f"frame of {line.announced} bytes announced, longest is {LONGEST_FRAME}; the framing is lost")
        else:
            self._lost(os.strerror(line.failure) if line.failure else "closed by the peer")

    def _lost(self, reason: str) -> None:
        assert self._port is not None
        self._log.warning("%s: connection lost: %s", self.path, reason)
        self._port.core.counters.connection_losses += 1
        self._disconnect()
        if not self.listen:
            self._retry_later(reason)
        self._transmit_again()

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._detach()
            self._socket.close()
            self._socket = None


def listener_at(path: str) -> socket.socket:
    """A socket that listens at ``path``, in the place of one nobody listens on any more; raises ViaError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _clear_stale(path)
        listener.bind(path)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise ViaError(f"stream {path!r}: cannot listen: {error.strerror or error}") from error
    except ViaError:
        listener.close()
        raise
    return listener


def _clear_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ViaError(f"stream {path!r}: exists and is not a socket; remove it or choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        status = probe.connect_ex(path)
    if status != errno.ECONNREFUSED:
        raise ViaError(f"stream {path!r}: somebody listens there already")
    os.unlink(path)
