# SPDX-License-Identifier: MIT
"""A client of an ivshmem-server made of nothing but a socket, so that the server is not tested with its own codec."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from pathlib import Path

PATIENCE = 60.0
Got = tuple[int, int | None]


class RawClient:
    """One connection. Every descriptor received is closed with it."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.descriptors: list[int] = []

    def message(self) -> Got | None:
        """One message: its value and its descriptor; None at the end of the stream."""
        data, descriptors, _, _ = socket.recv_fds(self.socket, 8, 4)
        self.descriptors += descriptors
        if not data:
            return None
        assert len(data) == 8
        assert len(descriptors) <= 1
        return struct.unpack("<q", data)[0], descriptors[0] if descriptors else None

    def messages(self, count: int) -> list[Got]:
        """That many."""
        got = [self.message() for _ in range(count)]
        assert None not in got
        return [message for message in got if message is not None]

    def values(self, count: int) -> list[tuple[int, bool]]:
        """That many, as value and whether a descriptor came with it."""
        return [(value, descriptor is not None) for value, descriptor in self.messages(count)]

    def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while."""
        return not readable(self.socket.fileno(), seconds)

    def close(self) -> None:
        """As a client that dies."""
        self.socket.close()
        while self.descriptors:
            os.close(self.descriptors.pop())


def readable(descriptor: int, seconds: float = PATIENCE) -> bool:
    """Whether a descriptor becomes readable in time."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def same_file(one: int, other: int) -> bool:
    """Whether two descriptors are the same eventfd: what is written to one is read from the other."""
    os.set_blocking(one, False)
    os.set_blocking(other, False)
    os.eventfd_write(one, 1)
    try:
        os.eventfd_read(other)
    except BlockingIOError:
        os.eventfd_read(one)
        return False
    return True


def eventually(condition: object, seconds: float = PATIENCE) -> bool:
    """Whether a function becomes true in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
