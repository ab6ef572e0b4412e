# SPDX-License-Identifier: MIT
"""The memory object of a region: created, found again, given away; mapped only slice by slice."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.core import Window
from ivshmem_virtio.memory import shm
from ivshmem_virtio.memory.errors import (
    OutsideRegion,
    RegionError,
    RegionInUse,
    RegionMissing,
    RegionNameTaken,
    RegionNoSpace,
    RegionNotAllowed,
    RegionSize,
    RegionSizeDiffers,
)
from ivshmem_virtio.memory.lock import lock_as_keeper
from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.memory.slices import window_of

PAGE_SIZE = 4096
MARK = b"IVSHMVIO"
"""What a region of ours begins with: the magic of its directory, which is a matter of the layer above."""
# Each try loses only against another process that created or removed the same name in between.
CREATE_TRIES = 3


class Region:
    """A memory object of fixed size. Owns its descriptor, and the keeper's lock where it created the object."""

    def __init__(self, memory: int, size: int, *, name: str | None = None, lock: int | None = None) -> None:
        self.memory = memory
        self.size = size
        self.name = name
        self._lock = lock
        self._identity = identity(memory)
        self._closed = False

    @property
    def lock(self) -> int | None:
        """The descriptor that holds the keeper's lock: whoever has a duplicate holds it, too."""
        return self._lock

    @classmethod
    def create(
        cls, name: str, size: int, *, mode: int = 0o600, owner: Owner | None = None, keep_contents: bool = False
    ) -> Region:
        """A new POSIX shared memory object of ``size`` bytes, a power of two, with its space really allocated.

        An object of this name that a dead keeper left behind is replaced, or with ``keep_contents`` taken over as it
        is. Raises RegionSize, RegionName, RegionNameTaken, RegionInUse, RegionSizeDiffers, RegionNoSpace and
        RegionNotAllowed.
        """
        check_size(size)
        shm.check_name(name)
        for _ in range(CREATE_TRIES):
            found = shm.open_existing(name)
            if found is not None:
                lock = _lock_stale(name, found, may_be_foreign=keep_contents)
                if keep_contents:
                    return cls._take_over(name, found, lock, size, mode, owner)
                shm.remove(name)
                os.close(found)
                os.close(lock)
            created = shm.create_new(name)
            if created is not None:
                return cls._set_up(name, created, size, mode, owner)
        raise RegionInUse(f"shared memory {name!r} is created and removed by another process all the time")

    @classmethod
    def _take_over(cls, name: str, memory: int, lock: int, size: int, mode: int, owner: Owner | None) -> Region:
        region = cls(memory, os.fstat(memory).st_size, name=name, lock=lock)
        try:
            if region.size != size:
                raise RegionSizeDiffers(
                    f"shared memory {name!r} exists with {region.size} bytes, not {size}; remove it or ask for its size"
                )
            give(memory, mode, owner, name)
        except BaseException:
            region.close()
            raise
        return region

    @classmethod
    def _set_up(cls, name: str, memory: int, size: int, mode: int, owner: Owner | None) -> Region:
        lock = lock_as_keeper(memory)
        if lock is None:
            # Another process saw the new object as a stale one, and replaces it.
            os.close(memory)
            raise RegionInUse(f"shared memory {name!r} was taken by another process just now")
        region = cls(memory, size, name=name, lock=lock)
        try:
            allocate(memory, size, shm.FOLDER)
            give(memory, mode, owner, name)
        except BaseException:
            region.unlink()
            region.close()
            raise
        return region

    @classmethod
    def create_in_folder(cls, folder: Path, size: int) -> Region:
        """An unnamed file in ``folder`` (such as a hugetlbfs mount), gone with its last holder."""
        check_size(size)
        try:
            memory, path = tempfile.mkstemp(prefix="ivshmem-", dir=folder)
        except OSError as error:
            raise RegionNotAllowed(f"cannot create a region in {folder}: {error.strerror}") from error
        os.unlink(path)
        try:
            allocate(memory, size, str(folder))
        except BaseException:
            os.close(memory)
            raise
        return cls(memory, size)

    @classmethod
    def create_anonymous(cls, size: int, *, label: str = "ivshmem") -> Region:
        """A sealed memory file without a name: no holder can shrink, grow or seal it any further."""
        check_size(size)
        memory = os.memfd_create(label, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            allocate(memory, size, "memory")
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except BaseException:
            os.close(memory)
            raise
        return cls(memory, size)

    @classmethod
    def open(cls, name: str) -> Region:
        """An existing shared memory object; raises RegionMissing, RegionName, RegionNameTaken, RegionNotAllowed."""
        shm.check_name(name)
        memory = shm.open_existing(name)
        if memory is None:
            raise RegionMissing(f"there is no shared memory {name!r}; ls {shm.FOLDER} shows what there is")
        return cls(memory, os.fstat(memory).st_size, name=name)

    @classmethod
    def from_fd(cls, memory: int) -> Region:
        """A region that came as a descriptor, which it owns from now on."""
        return cls(memory, os.fstat(memory).st_size)

    def window(self, offset: int, length: int) -> Window:
        """Map [offset, offset + length); raises OutsideRegion."""
        self._check(offset, length)
        return window_of(self.memory, offset, length)

    def read(self, offset: int, length: int) -> bytes:
        """A copy of some bytes, without mapping them; raises OutsideRegion, also when the object was truncated."""
        self._check(offset, length)
        data = os.pread(self.memory, length, offset)
        if len(data) != length:
            raise OutsideRegion(f"{length} bytes at {offset:#x}: somebody truncated the region of {self.size} bytes")
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Write some bytes without mapping them; raises OutsideRegion."""
        self._check(offset, len(data))
        os.pwrite(self.memory, data, offset)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OutsideRegion(f"{length} bytes at {offset:#x} are not inside the region of {self.size} bytes")

    def unlink(self) -> None:
        """Remove the name, if the object still has it; holders keep the memory."""
        if self.name is None:
            return
        current = shm.open_existing(self.name)
        if current is None:
            return
        ours = identity(current) == self._identity
        os.close(current)
        if ours:
            shm.remove(self.name)

    def close(self) -> None:
        """Close the descriptor and give up the keeper's lock; may be called twice."""
        if self._closed:
            return
        self._closed = True
        os.close(self.memory)
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def identity(memory: int) -> tuple[int, int]:
    """What tells one file from all others."""
    status = os.fstat(memory)
    return status.st_dev, status.st_ino


def check_size(size: int) -> None:
    """Raise RegionSize unless ``size`` can be the size of a PCI BAR that starts at a page."""
    if size < PAGE_SIZE or size & (size - 1):
        larger = max(PAGE_SIZE, 1 << max(size - 1, 0).bit_length())
        raise RegionSize(
            f"region of {size} bytes: must be a power of two and at least {PAGE_SIZE}; the next is {larger}"
        )


def allocate(memory: int, size: int, where: str) -> None:
    """Give a memory object its size and its pages, so that nobody dies of SIGBUS later; raises RegionNoSpace."""
    try:
        os.posix_fallocate(memory, 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT):
            raise
        free = os.fstatvfs(memory)
        raise RegionNoSpace(
            f"no room for a region of {size} bytes in {where}: {free.f_bavail * free.f_frsize} bytes are free; "
            "ask for less or enlarge it (mount -o remount,size=)"
        ) from error


def give(memory: int, mode: int, owner: Owner | None, name: str) -> None:
    """Set mode (the umask does not count) and owner; raises RegionNotAllowed."""
    try:
        os.fchmod(memory, mode)
        if owner is not None:
            os.fchown(memory, owner.user, owner.group)
    except PermissionError as error:
        raise RegionNotAllowed(f"may not give shared memory {name!r} to {owner}: only root may") from error


def _lock_stale(name: str, memory: int, *, may_be_foreign: bool) -> int:
    """The keeper's lock on an object whose keeper is dead; closes ``memory`` and raises where it is not that."""
    try:
        lock = lock_as_keeper(memory)
        if lock is None:
            raise RegionInUse(f"shared memory {name!r} is kept by a running process; end it or choose another name")
        if may_be_foreign or _is_ours(memory):
            return lock
        os.close(lock)
        raise RegionNameTaken(
            f"{shm.FOLDER}/{name} exists and is no region of ours; remove it if nobody needs it, or choose another name"
        )
    except RegionError:
        os.close(memory)
        raise


def _is_ours(memory: int) -> bool:
    """Whether an object is a region with a directory, or one that nobody ever wrote to."""
    start = os.pread(memory, PAGE_SIZE, 0)
    return start.startswith(MARK) or not any(start)
