# SPDX-License-Identifier: MIT
"""The ivshmem-server protocol, version 0: 8-byte messages, some of them with a file descriptor."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from dataclasses import dataclass

from ivshmem_virtio.peer.errors import StreamEndsInsideMessage, TooManyDescriptors, ValueOutOfRange

PROTOCOL_VERSION = 0
SHARED_MEMORY = -1
LARGEST_ID = 0xFFFF
MOST_VECTORS = 2048
"""What MSI-X has (PCI 3.0, 6.8.2)."""

REFUSAL = -errno.EBUSY
"""Sent instead of the version by a server that has no place for a client, before it closes the connection."""

VALUE = struct.Struct("<q")
MESSAGE_SIZE = VALUE.size
# Room for more descriptors than allowed, so that too many are seen as that.
ANCILLARY_ROOM = socket.CMSG_SPACE(4 * array.array("i").itemsize)


@dataclass(frozen=True)
class Message:
    """One message. Whoever receives it owns ``descriptor``."""

    value: int
    descriptor: int | None = None

    @classmethod
    def of(cls, data: bytes, descriptor: int | None) -> Message:
        """Interpret 8 bytes; closes the descriptor and raises ValueOutOfRange where they mean nothing."""
        try:
            return cls(decode(data), descriptor)
        except ValueOutOfRange:
            cls(0, descriptor).close()
            raise

    def close(self) -> None:
        """Close the descriptor, for a message that is not wanted."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def encode(value: int) -> bytes:
    """The bytes of a message."""
    return VALUE.pack(value)


def decode(data: bytes) -> int:
    """The value of a message's 8 bytes; raises ValueOutOfRange unless it is -1 or a peer id."""
    value = int(VALUE.unpack(data)[0])
    if not SHARED_MEMORY <= value <= LARGEST_ID:
        raise ValueOutOfRange(f"message {value}: must be -1 (shared memory) or a peer id from 0 to {LARGEST_ID}")
    return value


def ancillary(descriptor: int) -> list[tuple[int, int, bytes]]:
    """What sendmsg(2) needs to pass a descriptor."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]).tobytes())]


class Receiver:
    """Puts messages together from a stream socket, however it is cut into pieces.

    Never reads beyond the end of the current message: a descriptor comes with the bytes it was sent with, so it belongs
    to the message that is being read.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._data = b""
        self._descriptors: list[int] = []

    def receive_raw(self) -> tuple[bytes, int | None] | None:
        """The 8 bytes and the descriptor of the next message, not interpreted; None at the end of the stream.

        Raises BlockingIOError (or TimeoutError) when not all of it has come yet: call again later. Raises
        TooManyDescriptors and StreamEndsInsideMessage.
        """
        while len(self._data) < MESSAGE_SIZE:
            piece, control, flags, _ = self._stream.recvmsg(
                MESSAGE_SIZE - len(self._data), ANCILLARY_ROOM, socket.MSG_CMSG_CLOEXEC
            )
            self._descriptors += descriptors_in(control)
            if len(self._descriptors) > 1 or flags & socket.MSG_CTRUNC:
                self.close()
                raise TooManyDescriptors(
                    "a message came with more than one file descriptor (or none could be received)"
                )
            if not piece:
                self._end()
                return None
            self._data += piece
        data, self._data = self._data, b""
        return data, self._descriptors.pop() if self._descriptors else None

    def receive(self) -> Message | None:
        """As ``receive_raw``, interpreted; raises ValueOutOfRange, too."""
        raw = self.receive_raw()
        return None if raw is None else Message.of(*raw)

    def _end(self) -> None:
        length = len(self._data)
        self.close()
        if length:
            raise StreamEndsInsideMessage(f"the stream ends after {length} of the {MESSAGE_SIZE} bytes of a message")

    def close(self) -> None:
        """Forget a message that has come in part, with its descriptor. The socket is not closed."""
        self._data = b""
        while self._descriptors:
            os.close(self._descriptors.pop())


def descriptors_in(control: list[tuple[int, int, bytes]]) -> list[int]:
    """Every file descriptor in the ancillary data of recvmsg(2)."""
    found: list[int] = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % array.array("i").itemsize
            found += array.array("i", data[:whole])
    return found
