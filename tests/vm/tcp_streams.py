# SPDX-License-Identifier: MIT
"""TCP servers on the host's loopback for streams that last as long as they are wanted, one in each direction."""

from __future__ import annotations

import hashlib
import random
import socket
from abc import ABC, abstractmethod
from threading import Event, Thread
from types import TracebackType
from typing import Self

PIECE = 16 << 10
INTERVAL_SECONDS = 0.02
END_SECONDS = 120


class StreamServer(ABC):
    """Serves the first client, on a thread. ``length`` and ``digest`` are of what went through."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.length = 0
        self._hash = hashlib.sha256()
        self._thread = Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def _run(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:
            return
        with stream:
            self._serve(stream)

    @abstractmethod
    def _serve(self, stream: socket.socket) -> None:
        """Until the stream is at its end."""

    def _count(self, piece: bytes) -> None:
        self.length += len(piece)
        self._hash.update(piece)

    def wait_for_end(self) -> None:
        """Of the stream, which somebody has ended or is about to."""
        self._thread.join(END_SECONDS)
        assert not self._thread.is_alive(), f"{self._thread.name} did not come to its end"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A thread that waits in accept is not woken by close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Download(StreamServer):
    """Answers an HTTP request with random bytes until ``finish``."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._finished = Event()
        super().__init__()

    def _serve(self, stream: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += stream.recv(4096)
        stream.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
        while not self._finished.wait(INTERVAL_SECONDS):
            piece = self._chance.randbytes(PIECE)
            stream.sendall(piece)
            self._count(piece)

    def finish(self) -> None:
        """End the stream."""
        self._finished.set()
        self.wait_for_end()


class Upload(StreamServer):
    """Takes what comes until the client ends it."""

    def _serve(self, stream: socket.socket) -> None:
        while data := stream.recv(1 << 16):
            self._count(data)
