# SPDX-License-Identifier: MIT
"""What a console or a network interface of a hostile guest is connected to: everything it sends comes back to it."""

from __future__ import annotations

import selectors
import socket
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

AT_ONCE = 1 << 16


class Echo:
    """Sends back on each connection what comes on it, on a thread: those that come to ``listen``, and one to
    ``connect``.
    """

    def __init__(self, *, listen: Path, connect: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(listen))
        self._listener.listen()
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.connect(str(connect))
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._streams: set[socket.socket] = set()
        self._take(connected)
        self._thread = Thread(target=self._run, name="echo")
        self._thread.start()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                stream = key.fileobj
                assert isinstance(stream, socket.socket)
                if stream is self._woken:
                    return
                if stream is self._listener:
                    self._accept()
                else:
                    self._echo(stream)

    def _accept(self) -> None:
        stream, _ = self._listener.accept()
        self._take(stream)

    def _take(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self._streams.add(stream)
        self._selector.register(stream, selectors.EVENT_READ)

    def _echo(self, stream: socket.socket) -> None:
        try:
            data = stream.recv(AT_ONCE)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(stream)
            self._streams.discard(stream)
            stream.close()
            return
        # A stream of frames must not lose its place, so what is to go back goes as a whole.
        stream.settimeout(1.0)
        try:
            stream.sendall(data)
        except OSError:
            self._selector.unregister(stream)
            self._streams.discard(stream)
            stream.close()
            return
        stream.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.close()
        self._thread.join()
        for stream in (*self._streams, self._listener, self._woken):
            stream.close()
        self._selector.close()
