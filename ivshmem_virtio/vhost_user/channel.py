# SPDX-License-Identifier: MIT
"""The connection to a daemon: one request at a time, its answer checked before anything of it is used.

A daemon is another program with other bugs. Whatever breaks the protocol ends the connection, because what follows
could not be told apart any more.
"""

from __future__ import annotations

import array
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from ivshmem_virtio.vhost_user.errors import (
    DaemonGone,
    DaemonSilent,
    DaemonUnreachable,
    ReplyDescriptorUnexpected,
    ReplyLengthInvalid,
    ReplyToAnother,
    ReplyVersionInvalid,
    RequestRefused,
    VhostUserError,
)
from ivshmem_virtio.vhost_user.messages import (
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADER,
    LARGEST_PAYLOAD,
    SHAPES,
    U64,
    VERSION,
    VERSION_MASK,
    Request,
)

ANCILLARY_ROOM = socket.CMSG_SPACE(8 * array.array("i").itemsize)


class Channel:
    """Owns its socket. ``seconds`` bounds every request with its answer."""

    def __init__(self, stream: socket.socket, seconds: float) -> None:
        self._stream = stream
        self._seconds = seconds
        self.acknowledged = False
        """Whether requests without an answer of their own ask for an acknowledgement (REPLY_ACK)."""

    @classmethod
    def connect(cls, path: Path, seconds: float) -> Channel:
        """Raises DaemonUnreachable."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(seconds)
        try:
            stream.connect(os.fspath(path))
        except OSError as error:
            stream.close()
            raise DaemonUnreachable(
                f"no vhost-user daemon at {path}: {error.strerror or error}; is it running?"
            ) from error
        return cls(stream, seconds)

    def fileno(self) -> int:
        """Readable when the daemon closed the connection, for it says nothing unasked."""
        return self._stream.fileno()

    def ask(self, request: Request, *values: int) -> tuple[int, ...]:
        """Send a request that has an answer of its own; the answer's fields."""
        shape = SHAPES[request]
        assert shape.reply is not None, f"{request.name} has no answer of its own"
        payload = shape.payload.pack(*values) if shape.payload else b""
        return shape.reply.unpack(self.ask_raw(request, payload, shape.reply.size))

    def ask_raw(self, request: Request, payload: bytes, length: int) -> bytes:
        """The same for a payload that is made already; ``length`` bytes are the right answer."""
        deadline = time.monotonic() + self._seconds
        self._send(request, 0, payload, (), deadline)
        return self._receive(request, length, deadline)

    def tell(self, request: Request, *values: int, descriptors: Sequence[int] = ()) -> None:
        """Send a request without an answer of its own; raises RequestRefused where acknowledgements are on."""
        shape = SHAPES[request]
        payload = shape.payload.pack(*values) if shape.payload else b""
        deadline = time.monotonic() + self._seconds
        self._send(request, FLAG_NEED_REPLY if self.acknowledged else 0, payload, descriptors, deadline)
        if self.acknowledged:
            (status,) = U64.unpack(self._receive(request, U64.size, deadline))
            if status:
                raise RequestRefused(f"the daemon refused {request.name} {list(values)} with status {status}")

    def _send(self, request: Request, flags: int, payload: bytes, descriptors: Sequence[int], deadline: float) -> None:
        message = HEADER.pack(request, VERSION | flags, len(payload)) + payload
        try:
            self._bound(deadline, request)
            # Descriptors travel with the first byte that is sent.
            sent = socket.send_fds(self._stream, [message], list(descriptors))
            while sent < len(message):
                self._bound(deadline, request)
                sent += self._stream.send(message[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise DaemonGone(f"the daemon closed the connection before {request.name}: attach anew") from error
        except TimeoutError as error:
            raise DaemonSilent(f"the daemon did not take {request.name} within {self._seconds:g} s") from error

    def _bound(self, deadline: float, request: Request) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DaemonSilent(f"the daemon did not answer {request.name} within {self._seconds:g} s")
        self._stream.settimeout(left)

    def _receive(self, request: Request, length: int, deadline: float) -> bytes:
        try:
            answered, flags, size = HEADER.unpack(self._exactly(HEADER.size, request, deadline))
            self._check(request, answered, flags, size, length)
            return self._exactly(size, request, deadline)
        except VhostUserError:
            self.close()
            raise

    @staticmethod
    def _check(request: Request, answered: int, flags: int, size: int, length: int) -> None:
        if flags & VERSION_MASK != VERSION or not flags & FLAG_REPLY:
            raise ReplyVersionInvalid(
                f"the answer to {request.name} has flags {flags:#x}: it must be a reply of version {VERSION}"
            )
        if answered != request:
            raise ReplyToAnother(f"request {request} ({request.name}) was answered as request {answered}")
        if size != length or size > LARGEST_PAYLOAD:
            raise ReplyLengthInvalid(f"the answer to {request.name} has {size} bytes: it must have {length}")

    def _exactly(self, length: int, request: Request, deadline: float) -> bytes:
        data = b""
        while len(data) < length:
            data += self._piece(length - len(data), request, deadline)
        return data

    def _piece(self, length: int, request: Request, deadline: float) -> bytes:
        self._bound(deadline, request)
        try:
            piece, control, _, _ = self._stream.recvmsg(length, ANCILLARY_ROOM, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError as error:
            raise DaemonGone(f"the daemon reset the connection at {request.name}: attach anew") from error
        except TimeoutError as error:
            raise DaemonSilent(f"the daemon did not answer {request.name} within {self._seconds:g} s") from error
        if unexpected := descriptors_in(control):
            for descriptor in unexpected:
                os.close(descriptor)
            raise ReplyDescriptorUnexpected(f"the answer to {request.name} came with {len(unexpected)} descriptors")
        if not piece:
            raise DaemonGone(f"the daemon closed the connection at {request.name}: attach anew")
        return piece

    def at_end(self) -> bool:
        """Whether the daemon closed the connection; never waits. Bytes that nobody asked for are an end as well."""
        if self._stream.fileno() < 0:
            return True
        self._stream.setblocking(False)
        try:
            self._stream.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._stream.close()


def descriptors_in(control: list[tuple[int, int, bytes]]) -> list[int]:
    """Every file descriptor in the ancillary data of recvmsg(2)."""
    found: list[int] = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
            found += numbers
    return found
