# SPDX-License-Identifier: MIT
"""Where everything lies in a back-end's private state object: the numbers of docs/protocol.md, section 9.

Offsets are bytes from the start of the structure they belong to. A test holds every class here against that document.
"""

from __future__ import annotations

from enum import IntEnum

STATE_MAGIC = b"IVSHMVST"
STATE_VERSION = 5
IDENTITY_SIZE = 32


class StateHeader(IntEnum):
    """At offset 0 of the object."""

    STATE_MAGIC = 0x00
    STATE_VERSION = 0x08
    STATE_LINKS = 0x0C
    IDENTITY = 0x10


STATE_FIRST_LINK = 0x40


class LinkRecord(IntEnum):
    """One link; the records of its queues follow, then its configuration space, then the memory of its device."""

    LINK_EPOCH = 0x00
    LINK_INCARNATION = 0x08
    LINK_FEATURES = 0x10
    LINK_STATUS = 0x18
    LINK_QUEUES = 0x1C
    LINK_SELECTED = 0x20
    LINK_DEVICE_FEATURES_SEL = 0x24
    LINK_DRIVER_FEATURES_SEL = 0x28
    LINK_TRIES = 0x2C
    LINK_DEVICE = 0x30
    LINK_OFFERED = 0x38
    LINK_IDENTITY = 0x40
    LINK_SERVED = 0x60
    LINK_OPENINGS = 0x68
    LINK_CONFIG_LENGTH = 0x6C
    LINK_MEMORY_LENGTH = 0x70
    LINK_REFUSED = 0x78
    LINK_DROPPED = 0x80
    LINK_DROPPED_BYTES = 0x88
    LINK_TROUBLED = 0x90


LINK_RECORD_SIZE = 192


class RingLayout(IntEnum):
    """Values of ``ring_layout`` (virtio 1.4, 2.7 and 2.8)."""

    SPLIT = 0
    PACKED = 1


class QueueRecord(IntEnum):
    """One queue; its in-flight records follow, then its copies of descriptors."""

    RING_LAYOUT = 0x00
    RING_SIZE = 0x04
    RING_DESC = 0x08
    RING_DRIVER = 0x10
    RING_DEVICE = 0x18
    USED_POSITION = 0x20
    COMMIT_OLD = 0x22
    COMMIT_COUNT = 0x24
    DRIVER_VECTOR = 0x28
    IN_FLIGHT_COUNT = 0x2C
    NEXT_SEQUENCE = 0x30
    RING_ENABLED = 0x38
    RING_LARGEST = 0x3C
    RING_OWNER = 0x40


QUEUE_RECORD_SIZE = 0x80


class InFlightRecord(IntEnum):
    """One chain taken and not returned."""

    CHAIN_SEQUENCE = 0x00
    CHAIN_ID = 0x08
    CHAIN_DESCRIPTORS = 0x0A
    TABLE_LENGTH = 0x0C
    TABLE_OFFSET = 0x10
    COMMITTED = 0x18
    FIRST_COPY = 0x1C


IN_FLIGHT_RECORD_SIZE = 32


class CopiedDescriptor(IntEnum):
    """A descriptor of a packed chain in flight; behind the in-flight records, one for each of the largest ring."""

    COPY_ADDRESS = 0x00
    COPY_LENGTH = 0x08
    COPY_FLAGS = 0x0C
    COPY_NEXT = 0x0E


COPY_SIZE = 16


def queue_record_length(largest: int) -> int:
    """Bytes of a queue record with everything kept of a ring of at most ``largest`` descriptors."""
    return QUEUE_RECORD_SIZE + largest * (IN_FLIGHT_RECORD_SIZE + COPY_SIZE)
