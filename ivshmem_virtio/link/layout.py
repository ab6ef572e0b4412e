# SPDX-License-Identifier: MIT
"""Where everything lies in a region and in a link: the numbers of docs/protocol.md, and nothing else.

Offsets are bytes. A test holds every class here against the tables of that document.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

PAGE_SIZE = 4096
LINE_SIZE = 64
BACKEND = 0
FRONTEND = 1


class Directory(IntEnum):
    """Directory header at offset 0 of a region (ivshmem v1)."""

    MAGIC = 0x00
    VERSION = 0x08
    DIRECTORY_SIZE = 0x0C
    REGION_SIZE = 0x10
    LINK_COUNT = 0x18
    ENTRY_SIZE = 0x1C


DIRECTORY_MAGIC = b"IVSHMVIO"
DIRECTORY_VERSION = 1
DIRECTORY_SIZE = 2 * PAGE_SIZE
DIRECTORY_FIRST_ENTRY = 0x40
DIRECTORY_ENTRY_SIZE = 64
DIRECTORY_ENTRIES = (DIRECTORY_SIZE - DIRECTORY_FIRST_ENTRY) // DIRECTORY_ENTRY_SIZE
MINIMUM_WINDOW = 2 * PAGE_SIZE


class Entry(IntEnum):
    """One directory entry."""

    SEQUENCE = 0x00
    STATE = 0x04
    DEVICE_ID = 0x08
    BACKEND_PEER = 0x0C
    OFFSET = 0x10
    RW_SIZE = 0x18
    STATE_TABLE_SIZE = 0x20
    OUTPUT_SIZE = 0x24
    FRONTEND_VECTOR = 0x28
    FRONTEND_VECTORS = 0x2A
    BACKEND_VECTOR = 0x2C
    BACKEND_VECTORS = 0x2E
    NAME = 0x30


ENTRY_NAME_SIZE = 16


class EntryState(IntEnum):
    """Life of a directory entry."""

    FREE = 0
    IN_USE = 1
    REMOVING = 2


class State(IntEnum):
    """Values of a State Table entry."""

    ABSENT = 0
    READY = 1
    RESUMING = 2


class Header(IntEnum):
    """Virtio-over-ivshmem registers at offset 0 of a window."""

    REVISION = 0x00
    SIZE = 0x04
    WRITE_TRANSACTION = 0x08
    DEVICE_FEATURES = 0x0C
    DEVICE_FEATURES_SEL = 0x10
    DRIVER_FEATURES = 0x14
    DRIVER_FEATURES_SEL = 0x18
    QUEUE_SEL = 0x1C
    QUEUE_SIZE = 0x20
    QUEUE_DEVICE_VECTOR = 0x22
    QUEUE_DRIVER_VECTOR = 0x24
    QUEUE_ENABLE = 0x26
    QUEUE_DESC = 0x28
    QUEUE_DRIVER = 0x30
    QUEUE_DEVICE = 0x38
    CONFIG_EVENT = 0x40
    QUEUE_EVENT = 0x41
    EXT_OFFSET = 0x42
    DEVICE_STATUS = 0x44
    CONFIG_GENERATION = 0x48
    CONFIG = 0x4C


REVISION = 2


class BackendLine(IntEnum):
    """Line 0 of the extension, from the extension's start."""

    LENGTH = 0x00
    CAPABILITIES = 0x04
    EPOCH = 0x08
    SESSION = 0x10
    HEARTBEAT = 0x18
    CONFIG_LENGTH = 0x1C
    INCARNATION_ACKNOWLEDGED = 0x20
    BACKEND_CONFIG_VECTOR = 0x28
    QUEUE_COUNT = 0x2A


class FrontendLine(IntEnum):
    """Line 1 of the extension, from that line's start."""

    INCARNATION = 0x00
    CAPABILITIES = 0x08
    PEER_PLUS_ONE = 0x0C
    HEARTBEAT = 0x10
    FRONTEND_CONFIG_VECTOR = 0x14


class QueueLine(IntEnum):
    """The line of one queue, from that line's start."""

    OWNER = 0x00
    IN_FLIGHT = 0x04
    RING_OFFSET = 0x08
    RING_LENGTH = 0x10
    ANSWERED_POSITION = 0x18
    ANSWERED_OWNER = 0x1C


class Capability(IntFlag):
    """What a side can do beyond revision 1; a side uses only what both have."""

    HOST_PLACED_RINGS = 1 << 0
    RESUME = 1 << 1
    SIZED_TRANSACTIONS = 1 << 2
    EVENT_BYTES = 1 << 3
    ANSWERED_POSITION = 1 << 4


class Owner(IntEnum):
    """Who may write a used ring: the low bits of the owner word, see ``OWNER_BITS``."""

    NOBODY = 0
    BACKEND = 1
    FRONTEND = 2


OWNER_BITS = 2
"""The other bits of an owner word count its changes."""


def owner_of(word: int) -> int:
    """Whom an owner word names; a number that is not in ``Owner`` is the other side's nonsense."""
    return word & (1 << OWNER_BITS) - 1


def owner_changes(word: int, since: int) -> int:
    """How often the ring has changed hands from owner word ``since`` to ``word``; an earlier one is far ahead."""
    return ((word >> OWNER_BITS) - (since >> OWNER_BITS)) & (1 << 32 - OWNER_BITS) - 1


def next_owner_word(word: int, owner: Owner) -> int:
    """What follows an owner word when ``owner`` takes the ring, or gives it back (NOBODY)."""
    changes = (word >> OWNER_BITS) + 1
    return (changes << OWNER_BITS | owner) & 0xFFFFFFFF


def round_up(value: int, multiple: int) -> int:
    """The least multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple


@dataclass(frozen=True)
class LinkLayout:
    """One link of a region, as its directory entry says it. Sizes, offset: bytes; vectors: absolute in their peer."""

    name: str
    device_id: int
    offset: int
    rw_size: int
    frontend_vector: int
    frontend_vectors: int
    backend_vector: int
    backend_vectors: int
    backend_peer: int
    state_table_size: int = PAGE_SIZE
    output_size: int = 0

    @property
    def window_offset(self) -> int:
        """Start of the R/W section, from the start of the region."""
        return self.offset + self.state_table_size

    @property
    def end(self) -> int:
        """First byte behind the link."""
        return self.window_offset + self.rw_size + 2 * self.output_size


@dataclass(frozen=True)
class SplitPlacement:
    """Where the three parts of a split virtqueue lie in a window (virtio 1.4, 2.7)."""

    desc: int
    driver: int
    device: int
    end: int

    @classmethod
    def at(cls, start: int, size: int) -> SplitPlacement:
        """The parts of a queue of ``size`` descriptors placed from ``start`` on, used ring on a line of its own."""
        driver = start + 16 * size
        device = round_up(driver + 6 + 2 * size, LINE_SIZE)
        return cls(start, driver, device, device + 6 + 8 * size)


@dataclass(frozen=True)
class PackedPlacement:
    """Where the three parts of a packed virtqueue lie in a window (virtio 1.4, 2.8.10.1)."""

    desc: int
    driver: int
    device: int
    end: int

    @classmethod
    def at(cls, start: int, size: int) -> PackedPlacement:
        """The parts of a queue of ``size`` descriptors placed from ``start`` on, both event areas on lines of their
        own.
        """
        driver = round_up(start + 16 * size, LINE_SIZE)
        device = driver + LINE_SIZE
        return cls(start, driver, device, device + 4)


def ring_placement(start: int, size: int, *, packed: bool) -> SplitPlacement | PackedPlacement:
    """The parts of a queue in the layout that was negotiated."""
    return PackedPlacement.at(start, size) if packed else SplitPlacement.at(start, size)


def ring_block_length(size: int) -> int:
    """Bytes of a ring block that holds a queue of ``size`` descriptors in either layout; a multiple of 64."""
    split = SplitPlacement.at(0, size).end
    return round_up(max(split, PackedPlacement.at(0, size).end), LINE_SIZE)
