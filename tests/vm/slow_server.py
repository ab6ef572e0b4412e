# SPDX-License-Identifier: MIT
"""A TCP server on the host's loopback that sends and takes for as long as it is wanted."""

from __future__ import annotations

import hashlib
import random
import socket
from threading import Event, Thread
from types import TracebackType
from typing import Self

PIECE = 16 << 10
INTERVAL_SECONDS = 0.02
STREAM_SECONDS = 120


class SlowServer:
    """Sends random bytes to the one who connects until ``finish``; ``taken`` is what came from there."""

    def __init__(self, seed: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._chance = random.Random(seed)
        self._finished = Event()
        self.sent = 0
        self.sent_digest = hashlib.sha256()
        self.taken = 0
        self.taken_digest = hashlib.sha256()
        self._sending = Thread(target=self._send, name="slow server", daemon=True)
        self._taking = Thread(target=self._take, name="slow server", daemon=True)
        self._stream: socket.socket | None = None
        self._sending.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def _send(self) -> None:
        try:
            self._stream, _ = self._listener.accept()
        except OSError:
            return
        self._taking.start()
        while not self._finished.wait(INTERVAL_SECONDS):
            piece = self._chance.randbytes(PIECE)
            self._stream.sendall(piece)
            self.sent += len(piece)
            self.sent_digest.update(piece)
        self._stream.shutdown(socket.SHUT_WR)

    def _take(self) -> None:
        assert self._stream is not None
        while data := self._stream.recv(1 << 16):
            self.taken += len(data)
            self.taken_digest.update(data)

    def wait_for_end(self) -> None:
        """Wait until the other side has ended its stream."""
        self._taking.join(STREAM_SECONDS)
        assert not self._taking.is_alive(), "the stream to us did not come to its end"

    def finish(self) -> None:
        """End ours."""
        self._finished.set()
        self._sending.join(STREAM_SECONDS)
        assert not self._sending.is_alive(), "the stream from us did not come to its end"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A thread that waits in accept is not woken by close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._stream is not None:
            self._finished.set()
            self._stream.close()
