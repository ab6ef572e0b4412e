# SPDX-License-Identifier: MIT
"""Frames that wait to go into a unix stream socket, in pieces that end where a frame ends.

Linux puts what one system call sends into such a socket as a whole or not at all, up to 32 KiB. So a process that is
killed has not sent part of a frame, and a reader who takes what is there never finds half a length: passt of 2023 drops
such a half and takes the middle of a frame for the next length from then on.
"""

from __future__ import annotations

import socket
import struct
from collections import deque

PIECE_LIMIT = 1 << 15
"""Bytes. A frame that alone is longer goes in more than one system call."""

_LENGTH = struct.Struct(">I")


class StreamOutput:
    """Each frame after its length in four big-endian bytes. ``len()`` is the number of bytes that wait."""

    def __init__(self) -> None:
        self._pieces: deque[bytearray] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return self._bytes

    def add(self, frame: bytes) -> None:
        """Queue a frame."""
        size = _LENGTH.size + len(frame)
        if not self._pieces or len(self._pieces[-1]) + size > PIECE_LIMIT:
            self._pieces.append(bytearray())
        self._pieces[-1] += _LENGTH.pack(len(frame))
        self._pieces[-1] += frame
        self._bytes += size

    def send(self, peer: socket.socket) -> None:
        """Send until nothing waits; raises what ``socket.send`` raises, BlockingIOError while the peer is full."""
        while self._pieces:
            piece = self._pieces[0]
            sent = peer.send(piece)
            self._bytes -= sent
            if sent == len(piece):
                self._pieces.popleft()
            else:
                del piece[:sent]

    def clear(self) -> None:
        """Forget what waits."""
        self._pieces.clear()
        self._bytes = 0
