# SPDX-License-Identifier: MIT
"""The messages a front-end sends, as one table: what each carries, and what its answer does."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("<III")
"""Request, flags, length of the payload in bytes."""

VERSION = 1
VERSION_MASK = 3
FLAG_REPLY = 1 << 2
FLAG_NEED_REPLY = 1 << 3

LARGEST_PAYLOAD = 4096
"""More than any answer to a request in the table."""

U64 = struct.Struct("<Q")
VRING_STATE = struct.Struct("<II")
"""Queue, number."""
VRING_ADDRESS = struct.Struct("<IIQQQQ")
"""Queue, flags, user addresses of descriptors, used ring and available ring, log."""
CONFIG_HEADER = struct.Struct("<III")
"""Offset, length, flags; the bytes follow."""
MEMORY_TABLE = struct.Struct("<IIQQQQ")
"""Number of regions (one), padding; guest address, length, user address, offset in the file."""

LARGEST_CONFIG = 256
"""Bytes of configuration space that one message may ask for (VHOST_USER_MAX_CONFIG_SIZE)."""

VRING_NO_DESCRIPTOR = 1 << 8
"""Beside the queue's number where no eventfd comes with the message."""


class Request(IntEnum):
    """Numbers of the requests (vhost-user, "Front-end message types")."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    GET_CONFIG = 24


@dataclass(frozen=True)
class Shape:
    """``payload`` of a request; ``reply``: what its own answer holds, None where only an acknowledgement can come."""

    payload: struct.Struct | None = None
    reply: struct.Struct | None = None


SHAPES: dict[Request, Shape] = {
    Request.GET_FEATURES: Shape(reply=U64),
    Request.SET_FEATURES: Shape(U64),
    Request.SET_OWNER: Shape(),
    Request.SET_MEM_TABLE: Shape(MEMORY_TABLE),
    Request.SET_VRING_NUM: Shape(VRING_STATE),
    Request.SET_VRING_ADDR: Shape(VRING_ADDRESS),
    Request.SET_VRING_BASE: Shape(VRING_STATE),
    Request.GET_VRING_BASE: Shape(VRING_STATE, VRING_STATE),
    Request.SET_VRING_KICK: Shape(U64),
    Request.SET_VRING_CALL: Shape(U64),
    Request.SET_VRING_ERR: Shape(U64),
    Request.GET_PROTOCOL_FEATURES: Shape(reply=U64),
    Request.SET_PROTOCOL_FEATURES: Shape(U64),
    Request.GET_QUEUE_NUM: Shape(reply=U64),
    Request.SET_VRING_ENABLE: Shape(VRING_STATE),
}
"""GET_CONFIG is not here: question and answer have the same header and a length of the caller's choice."""
