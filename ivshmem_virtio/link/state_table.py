# SPDX-License-Identifier: MIT
"""The State Table of a link: one 32-bit entry for each peer (docs/protocol.md, 3)."""

from __future__ import annotations

import os
import struct

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, LinkLayout, State

ENTRY = struct.Struct("<I")


class NoSuchStateEntry(IvshmemVirtioError):
    """A link has two peers, 0 and 1."""


class StateTableOutsideMemory(IvshmemVirtioError):
    """The memory object ends before the State Table: it is not the region of this layout, or was truncated."""


def entry_offset(index: int) -> int:
    """Bytes from the start of the link to the entry of peer ``index``; raises NoSuchStateEntry."""
    if index not in (BACKEND, FRONTEND):
        raise NoSuchStateEntry(f"peer {index} of a link: there are only 0 (back-end) and 1 (front-end)")
    return ENTRY.size * index


def zero_entry(memory: int, layout: LinkLayout, index: int) -> None:
    """Declare a peer absent, without mapping the region: a holder of it could truncate it under a mapping.

    Raises StateTableOutsideMemory instead of growing a memory object that is too short.
    """
    offset = layout.offset + entry_offset(index)
    size = os.fstat(memory).st_size
    if offset + ENTRY.size > size:
        raise StateTableOutsideMemory(
            f"link {layout.name!r} has its State Table at {layout.offset:#x}, the memory ends at {size:#x}"
        )
    os.pwrite(memory, ENTRY.pack(State.ABSENT), offset)
