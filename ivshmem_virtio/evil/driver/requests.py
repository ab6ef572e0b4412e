# SPDX-License-Identifier: MIT
"""Requests that a device of each type would serve: what mutants are made of."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from ivshmem_virtio.evil.driver.ring import WRITE

SLOT = 4096
"""Room of one chain: what its descriptors name, and its indirect table."""
TABLE = 3584
TABLE_ENTRIES = 16
HEADER_PART = 0
DATA_PART = 64
DATA_ROOM = 2048
LAST_PART = 3072
NET_HEADER = 12

Part = list[int]
"""Address, length and flags of a descriptor, to be changed."""
Build = Callable[[Random, memoryview, int], list[Part]]
"""Writes a request to the slot at an offset of the memory; its parts in order."""

BLK_HEADER = struct.Struct("<IIQ")
BLK_KINDS = (*[0] * 40, *[1] * 30, *[8] * 12, *[11] * 4, *[13] * 4, *[2, 5, 14, 0xFFFFFFFF] * 2, 4)
BLK_RANGE = struct.Struct("<QII")
BLK_SECTORS = 2048


def block(dice: Random, memory: memoryview, slot: int) -> list[Part]:
    """A block request of any kind; flushes are rare, because they are slow."""
    kind = BLK_KINDS[int(dice.random() * len(BLK_KINDS))]
    sector = int(dice.random() * BLK_SECTORS)
    BLK_HEADER.pack_into(memory, slot + HEADER_PART, kind, 0, sector)
    parts = [[slot + HEADER_PART, 16, 0]]
    length = 512 << int(dice.random() * 3)
    if kind in (11, 13):
        BLK_RANGE.pack_into(memory, slot + DATA_PART, sector, int(dice.random() * 16), 0)
        parts.append([slot + DATA_PART, 16, 0])
    elif kind in (0, 1):
        parts.append([slot + DATA_PART, length, WRITE if kind == 0 else 0])
    elif kind == 8:
        parts.append([slot + DATA_PART, 20, WRITE])
    parts.append([slot + LAST_PART, 1, WRITE])
    return parts


def text(dice: Random, memory: memoryview, slot: int) -> list[Part]:
    """Output of a console, in one to three parts."""
    memory[slot : slot + 8] = int(dice.random() * (1 << 64)).to_bytes(8, "little")
    return [[slot + 256 * i, 1 + int(dice.random() * 256), 0] for i in range(1 + int(dice.random() * 3))]


def frame(dice: Random, memory: memoryview, slot: int) -> list[Part]:
    """A frame to be transmitted, mostly with nothing left to do, sometimes with what a driver leaves to the device."""
    memory[slot : slot + NET_HEADER] = bytes(NET_HEADER) if dice.random() < 0.7 else dice.randbytes(NET_HEADER)
    length = 60 + int(dice.random() * 1455)
    memory[slot + DATA_PART : slot + DATA_PART + 16] = b"\xff" * 6 + dice.randbytes(10)
    if dice.random() < 0.5:
        return [[slot, NET_HEADER, 0], [slot + DATA_PART, length, 0]]
    return [[slot, NET_HEADER + length, 0]]


def room(dice: Random, memory: memoryview, slot: int) -> list[Part]:
    """Empty buffers: entropy, and everything that receives."""
    return [[slot + 512 * i, 1 + int(dice.random() * 1600), WRITE] for i in range(1 + int(dice.random() * 3))]


def both(dice: Random, memory: memoryview, slot: int) -> list[Part]:
    """For devices that nobody here knows."""
    return [[slot, 16, 0], [slot + DATA_PART, 512, WRITE]]


def request_for(device_id: int, queue: int) -> Build:
    """What is put into a queue of a device of this type."""
    if device_id in (1, 3) and queue % 2 == 0:
        return room
    return {1: frame, 2: block, 3: text, 4: room}.get(device_id, both)
