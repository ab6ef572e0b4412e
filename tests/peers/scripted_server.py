# SPDX-License-Identifier: MIT
"""A server that sends exactly what a test says, in exactly those pieces."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import sleep

Step = tuple[bytes, list[int]] | float
"""Bytes with descriptors, or a pause in seconds."""


def message(value: int, *descriptors: int) -> Step:
    """One message in one piece."""
    return struct.pack("<q", value), list(descriptors)


class ScriptedServer:
    """Accepts one client and plays a script to it, then holds the connection or closes it."""

    def __init__(self, path: Path, script: list[Step], *, hold: bool = True, piece: int = 8) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(60)
        self._script = script
        self._hold = hold
        self._piece = piece
        self.connection: socket.socket | None = None
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            self.connection, _ = self._listener.accept()
            self.play(self._script)
            if not self._hold:
                self.connection.close()

    def play(self, script: list[Step]) -> None:
        """Send more."""
        assert self.connection is not None
        for step in script:
            if isinstance(step, float):
                sleep(step)
                continue
            data, descriptors = step
            for start in range(0, len(data), self._piece):
                # The descriptors go with the first piece.
                now, descriptors = descriptors, []
                socket.send_fds(self.connection, [data[start : start + self._piece]], now)

    def joined(self) -> None:
        """Wait until the script is played."""
        self._thread.join(60)

    def close(self) -> None:
        """Hang up."""
        if self.connection is not None:
            self.connection.close()
        self._listener.close()
        self.joined()


class Descriptors:
    """A memory file and eventfds to send."""

    def __init__(self) -> None:
        self.memory = os.memfd_create("scripted")
        os.ftruncate(self.memory, 65536)
        self.empty = os.memfd_create("empty")
        self.eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]

    def close(self) -> None:
        """All of them."""
        for descriptor in (self.memory, self.empty, *self.eventfds):
            os.close(descriptor)
