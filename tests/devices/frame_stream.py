# SPDX-License-Identifier: MIT
"""The other end of a device behind a stream socket: a length before each frame, as QEMU and passt have it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.devices.net_guest import NetGuest


def framed(frame: bytes) -> bytes:
    return struct.pack(">I", len(frame)) + frame


def whole_frames(wire: bytes) -> list[bytes]:
    """What was read at once; fails where it ends within a frame."""
    frames = []
    while wire:
        (length,) = struct.unpack_from(">I", wire)
        assert len(wire) >= 4 + length
        frames.append(wire[4 : 4 + length])
        wire = wire[4 + length :]
    return frames


def listen_at(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    listener.settimeout(60)
    return listener


@contextmanager
def accepted(guest: NetGuest, listener: socket.socket) -> Iterator[socket.socket]:
    """The connection of a guest's device, once it is up."""
    guest.run_until(lambda: guest.link_is_up)
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(60)
        yield peer


def read_frames(guest: NetGuest, peer: socket.socket, count: int) -> list[bytes]:
    """So many frames of a guest; whatever was sent so far ends where a frame ends."""
    got: list[bytes] = []
    peer.setblocking(False)

    def read() -> bool:
        with suppress(BlockingIOError):
            got.extend(whole_frames(peer.recv(1 << 22)))
        return len(got) >= count

    guest.run_until(read)
    peer.settimeout(60)
    return got
