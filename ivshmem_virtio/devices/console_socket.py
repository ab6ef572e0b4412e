# SPDX-License-Identifier: MIT
"""A console port as a listening Unix socket: one client at a time, the next one waits in line."""

from __future__ import annotations

import os
import select
import socket
import stat
from asyncio import TimerHandle
from collections.abc import Sequence

from ivshmem_virtio.devices.console_sink import DescriptorSink, SinkUnusable
from ivshmem_virtio.devices.resource import Access, Resource

WATCH_SECONDS = 0.25
BACKLOG = 8


class SocketSink(DescriptorSink):
    """Listens at ``path``. A client may stop sending and go on receiving; it is gone when it has closed both ways."""

    def __init__(self, path: str, *, history: bool) -> None:
        super().__init__(history=history)
        self.path = path
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self._accepting = False
        self._timer: TimerHandle | None = None

    @property
    def resources(self) -> Sequence[Resource]:
        """The socket."""
        return [Resource(self.path, Access.LISTEN)]

    def _where(self) -> str:
        return self.path

    def _set_up(self) -> None:
        self._remove_stale_socket()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(self.path)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        listener.listen(BACKLOG)
        self._accept_next()

    def _remove_stale_socket(self) -> None:
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise SinkUnusable(
                    f"{self.label}: {self.path} exists and is no socket: remove it or choose another path"
                )
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(self.path)
            except ConnectionRefusedError:
                os.unlink(self.path)
                return
            except BlockingIOError:
                pass  # somebody listens and is busy
        raise SinkUnusable(f"{self.label}: another process listens at {self.path}: stop it or choose another path")

    def close(self) -> None:
        """Hang up and take the socket away."""
        self._hang_up()
        if self._listener is not None:
            if self._accepting and self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._listener)
            self._accepting = False
            self._listener.close()
            self._listener = None
            if os.path.exists(self.path):
                os.unlink(self.path)

    def _accept_next(self) -> None:
        if self._listener is not None and self._loop is not None and not self._accepting:
            self._accepting = True
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        if self._listener is None or self._loop is None:
            return
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it went away while it waited
        self._loop.remove_reader(self._listener)
        self._accepting = False
        client.setblocking(False)
        self._client = client
        self._attach(client.fileno(), client.fileno())
        self._watch()

    def _watch(self) -> None:
        """Input is not read while the driver has no room, so the client's departure has to be looked for."""
        if self._loop is not None and self._client is not None:
            self._timer = self._loop.call_later(WATCH_SECONDS, self._watch)
            if self._client_gone():
                self._lost()

    def _client_gone(self) -> bool:
        """Both directions closed, and nothing that it sent before is left to read."""
        if self._client is None:
            return True
        poll = select.poll()
        poll.register(self._client, select.POLLIN)
        if not dict(poll.poll(0)).get(self._client.fileno(), 0) & select.POLLHUP:
            return False
        try:
            return not self._client.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _end_of_input(self) -> None:
        super()._end_of_input()
        if self._client_gone():
            self._lost()

    def _output_failed(self, error: OSError) -> None:
        # What the client sent before it went may still be unread: let the watch or the reader find its end.
        self._drop(len(self._buffer))
        self._watch_output(False)
        if self._input_ended or self._client_gone():
            self._lost()

    def _lost(self) -> None:
        self._hang_up()
        self._accept_next()

    def _hang_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._detach()
        if self._client is not None:
            self._client.close()
            self._client = None
