# SPDX-License-Identifier: MIT
"""Messages on the control queues of a multiport console (virtio 1.4, 5.3.6.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

MESSAGE = struct.Struct("<IHH")
SIZE = struct.Struct("<HH")


class Event(IntEnum):
    """What a message is about."""

    DEVICE_READY = 0
    DEVICE_ADD = 1
    DEVICE_REMOVE = 2
    PORT_READY = 3
    CONSOLE_PORT = 4
    RESIZE = 5
    PORT_OPEN = 6
    PORT_NAME = 7


class ControlOutbox:
    """Messages for the driver that wait for a buffer.

    At most one of each kind for each port: a driver that never makes room costs no memory, and one that makes room late
    learns the present state, not the history.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, Event], bytes] = {}

    def add(self, port: int, event: Event, value: int = 0, payload: bytes = b"") -> None:
        """Queue a message behind those waiting, in place of an older one of its kind."""
        self._waiting.pop((port, event), None)
        self._waiting[port, event] = MESSAGE.pack(port, event, value) + payload

    def withdraw_port(self, port: int) -> set[Event]:
        """Take back everything about a port; returns what had not been sent."""
        events = {event for waiting, event in self._waiting if waiting == port}
        for event in events:
            del self._waiting[port, event]
        return events

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()

    def __contains__(self, message: tuple[int, Event]) -> bool:
        """Whether a message of that kind waits for a port."""
        return message in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> bytes:
        """The next message."""
        return self._waiting.pop(next(iter(self._waiting)))


def messages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(port, event, value) of the message in a buffer from the driver; none when it is too short for one."""
    if len(data) >= MESSAGE.size:
        yield MESSAGE.unpack_from(data)
