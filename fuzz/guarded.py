# SPDX-License-Identifier: MIT
"""Windows with a page on either side that nobody may touch: an access there ends the process at once."""

from __future__ import annotations

import ctypes
import mmap
import os

from ivshmem_virtio.core import Window

PAGE = mmap.PAGESIZE
TRIES = 1000
PROT_NONE = 0
NO_ADDRESS = ctypes.c_void_p(-1).value

_c = ctypes.CDLL(None, use_errno=True)
_c.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_c.mmap.restype = ctypes.c_void_p
_c.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class NoGuards(Exception):
    """The system did not put the window where there is room for guards."""


def guarded_window(length: int) -> Window:
    """A window of ``length`` bytes, a multiple of the page size, between two pages without access.

    A window chooses its place itself, so a hole of just its size is made for it between two such pages; what is put
    elsewhere fills a hole that was there before, and is tried again.
    """
    reserved = _c.mmap(None, length + 2 * PAGE, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if reserved == NO_ADDRESS:
        raise OSError(ctypes.get_errno(), "reserving addresses")
    memory = os.memfd_create("ivshmem-virtio-fuzz")
    try:
        os.ftruncate(memory, length)
        _c.munmap(reserved + PAGE, length)
        fillers = []
        for _ in range(TRIES):
            window = Window(memory, 0, length)
            if address_of(window) == reserved + PAGE:
                return window
            fillers.append(window)
    finally:
        os.close(memory)
    raise NoGuards(f"none of {TRIES} windows of {length} bytes was put at {reserved + PAGE:#x}")


def address_of(window: Window) -> int:
    """Where a window is mapped."""
    return ctypes.addressof(ctypes.c_char.from_buffer(window.view(0, 1)))
