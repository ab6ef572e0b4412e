# SPDX-License-Identifier: MIT
"""What a disk has in the place of an image where there is nothing behind it: for measuring all but the storage."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.devices.blk_image import SECTOR, Geometry

NO_FILE = -1


class NullImage:
    """Reads and writes succeed at once and touch no data: a buffer that is read into stays as it was."""

    is_block_device = False
    fd = NO_FILE

    def __init__(self, length: int, *, read_only: bool) -> None:
        self.path = "null"
        self.length = length
        self.read_only = read_only
        self.geometry = Geometry(SECTOR, 4096, 0, 4096, 0)

    def remeasure(self) -> bool:
        """It keeps its size."""
        return False

    @property
    def identity(self) -> str:
        """All null devices of a size are the same."""
        return f"null {self.length}"

    def read(self, views: Sequence[memoryview], offset: int) -> None:
        """Done."""

    def write(self, views: Sequence[memoryview], offset: int) -> None:
        """Done."""

    def flush(self) -> None:
        """Done."""

    def discard(self, offset: int, length: int) -> None:
        """Done."""

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Done."""

    def close(self) -> None:
        """Nothing is open."""
