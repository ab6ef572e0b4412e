# SPDX-License-Identifier: MIT
"""The memory a daemon is given: one slice of a region, whose first byte is guest address 0.

A daemon checks every address against the slice, so a driver cannot make it touch anything else. It is given the whole
file all the same: this protects against a bad driver, not against a bad daemon.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from ivshmem_virtio.vhost_user.errors import SliceInvalid, VringOutsideMemory

USER_ADDRESS = 0x7F00_0000_0000
"""Where the front-end says that it has the slice mapped: ring addresses are given relative to it. Nothing is there."""


@dataclass(frozen=True)
class SharedSlice:
    """``length`` bytes at ``offset`` of the file ``descriptor``, which stays the caller's.

    Raises SliceInvalid.
    """

    descriptor: int
    offset: int
    length: int

    def __post_init__(self) -> None:
        page = resource.getpagesize()
        size = os.fstat(self.descriptor).st_size
        inside = self.offset >= 0 and self.length > 0 and self.offset + self.length <= size
        if not inside or self.offset % page or self.length % page:
            raise SliceInvalid(
                f"{self.length} bytes at {self.offset:#x} of a file of {size} bytes: it must be whole pages inside"
            )

    @property
    def table(self) -> tuple[int, ...]:
        """Fields of SET_MEM_TABLE."""
        return (1, 0, 0, self.length, USER_ADDRESS, self.offset)

    def user_address(self, offset: int, length: int) -> int:
        """Address of ``length`` bytes at ``offset`` of the slice; raises VringOutsideMemory."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise VringOutsideMemory(
                f"{length} bytes at {offset:#x} do not lie in a slice of {self.length} bytes that the daemon has"
            )
        return USER_ADDRESS + offset
