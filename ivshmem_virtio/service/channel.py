# SPDX-License-Identifier: MIT
"""The private protocol between the keeper and its back-ends: JSON messages and file descriptors on a SEQPACKET socket.

Keeper to back-end: ``attach`` (links of one guest, with descriptors), ``stop``, ``which`` (a new keeper asks what is
served). Back-end to keeper: ``hello`` (first), ``ready`` (an attachment is taken on), ``served`` (all of its devices
are at work, which after a restart may take longer), ``failed`` (an attachment cannot be served, in one line),
``serving`` (the answer to ``which``).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from ivshmem_virtio.errors import IvshmemVirtioError

VERSION = 1
LARGEST_MESSAGE = 1 << 20
MOST_DESCRIPTORS = 253
"""What Linux passes with one message (SCM_MAX_FD)."""

Message = dict[str, Any]


class ChannelError(IvshmemVirtioError):
    """The other end of a keeper's channel sent what this version does not understand."""


class Channel:
    """One end of the channel. Owns the socket. The vault speaks another version of messages on the same kind."""

    def __init__(self, end: socket.socket, version: int = VERSION) -> None:
        self._end = end
        self._version = version
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_MESSAGE)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel, and the socket to hand to the other process."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(near), far

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, kind: str, body: Message | None = None, descriptors: list[int] | None = None) -> None:
        """Send one message; raises OSError when the other end is gone."""
        data = json.dumps({"type": kind, "version": self._version, **(body or {})}).encode()
        socket.send_fds(self._end, [data], descriptors or [])

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and its descriptors, None when the other end is gone; raises ChannelError."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, LARGEST_MESSAGE, MOST_DESCRIPTORS)
        except ConnectionResetError:
            return None
        try:
            return (decode(data, self._version), descriptors) if data else None
        except ChannelError:
            close_all(descriptors)
            raise

    def settimeout(self, seconds: float | None) -> None:
        """How long sending and receiving may take before they raise TimeoutError; None: as long as they like."""
        self._end.settimeout(seconds)

    def close(self) -> None:
        self._end.close()


def decode(data: bytes, version: int = VERSION) -> Message:
    """The message in ``data``, of this version; raises ChannelError for everything else."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ChannelError(f"a message of {len(data)} bytes is not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ChannelError("a message is no table with a type")
    if message.get("version") != version:
        raise ChannelError(f"message of version {message.get('version')!r}, this process speaks version {version}")
    return message


def close_all(descriptors: Sequence[int]) -> None:
    """Close what came with a message that has no use for it."""
    for descriptor in descriptors:
        os.close(descriptor)
