# SPDX-License-Identifier: MIT
"""A live region, opened and mapped for reading only."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.core import Window
from ivshmem_virtio.inspect.errors import RegionAbsent, RegionSizeDiffers, RegionUnreadable
from ivshmem_virtio.service.plan import RegionPlan
from ivshmem_virtio.service.size import format_size

FOLDER = Path("/dev/shm")


class RegionFile:
    """The region of a plan. Nothing of it is ever written."""

    def __init__(self, made: RegionPlan, path: Path | None = None) -> None:
        """At ``path``, or where our own service puts it. Raises RegionAbsent, RegionUnreadable or RegionSizeDiffers."""
        self.path = path or FOLDER / made.shared_memory
        self.memory = _open(self.path, made)
        self.size = os.fstat(self.memory).st_size
        if self.size != made.size:
            self.close()
            raise RegionSizeDiffers(
                f'guest "{made.guest}": {self.path} has {format_size(self.size)}, the configuration says '
                f"{format_size(made.size)}: the service runs with another configuration, or a dead one left the file"
            )

    def read(self, offset: int, length: int) -> bytes:
        """A copy, without mapping."""
        return os.pread(self.memory, length, offset)

    def window(self, offset: int, length: int) -> Window:
        """A read-only mapping."""
        return Window(self.memory, offset, length, writable=False)

    def close(self) -> None:
        os.close(self.memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(path: Path, made: RegionPlan) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise RegionAbsent(
            f'guest "{made.guest}": there is no region {path}; nobody serves this configuration '
            "(ivshmem-virtio serve, or run)"
        ) from None
    except OSError as error:
        raise RegionUnreadable(f'guest "{made.guest}": {path}: {error.strerror}; try as its owner') from None
