# SPDX-License-Identifier: MIT
"""Slices of a memory object, for those who hold a descriptor of it and own nothing."""

from __future__ import annotations

import os

from ivshmem_virtio.core import Window
from ivshmem_virtio.memory.errors import OutsideRegion


def window_of(memory: int, offset: int, length: int) -> Window:
    """Map a slice of a memory object; raises OutsideRegion where the object ends before the slice does.

    A mapping behind the end would only be noticed by SIGBUS.
    """
    size = os.fstat(memory).st_size
    if offset < 0 or length <= 0 or offset + length > size:
        raise OutsideRegion(f"{length} bytes at {offset:#x} are not inside the memory object of {size} bytes")
    return Window(memory, offset, length)
