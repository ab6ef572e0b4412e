# SPDX-License-Identifier: MIT
"""The file or block device behind a virtio disk: opened under a lock, measured, read and written from views."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ivshmem_virtio.devices.blk_ranges import deallocate, discard, zero_in_place
from ivshmem_virtio.devices.device import DeviceError

SECTOR = 512
IOV_MAX = os.sysconf("SC_IOV_MAX")
LOCK_POLL_SECONDS = 0.05
ZEROES = memoryview(bytes(1 << 20))

# <linux/fs.h>
BLKGETSIZE64 = 0x80081272
BLKSSZGET = 0x1268
BLKIOMIN = 0x1278
BLKIOOPT = 0x1279
BLKALIGNOFF = 0x127A
BLKPBSZGET = 0x127B


class ImageMissing(DeviceError):
    """There is no file at the configured path."""


class ImageForbidden(DeviceError):
    """The operating system does not let this process open the image as configured."""


class ImageLocked(DeviceError):
    """Another process holds the image, and kept holding it while we waited."""


class ImageUnusable(DeviceError):
    """The path names something that cannot be a disk, or a disk of a size virtio cannot express."""


class ImageEnded(OSError):
    """A transfer met the end of the image inside its capacity: somebody made it shorter."""


@dataclass(frozen=True)
class Geometry:
    """Block sizes of an image, in bytes; ``optimal`` 0 = no opinion (virtio 1.4, 5.2.4)."""

    logical: int
    physical: int
    alignment_offset: int
    minimum: int
    optimal: int


def describe_failure(path: str, error: OSError, *, read_only: bool) -> DeviceError:
    """The one line a user needs when the image did not open."""
    if error.errno == errno.ENOENT:
        return ImageMissing(f"image {path} does not exist: create it, for example with `truncate -s 1G {path}`")
    if error.errno in (errno.EACCES, errno.EPERM):
        wish = "read" if read_only else "read and write"
        return ImageForbidden(
            f"image {path}: no permission to {wish} it; change its owner or mode, or run as its owner"
        )
    if error.errno == errno.EROFS:
        return ImageForbidden(f"image {path} is on a read-only file system: set read_only = true")
    if error.errno == errno.EBUSY:
        return ImageLocked(
            f"block device {path} is in use on this host (mounted?): unmount it, or set read_only = true"
        )
    if error.errno == errno.EISDIR:
        return ImageUnusable(f"image {path} is a directory: name a file or a block device")
    return ImageUnusable(f"image {path} cannot be opened: {error.strerror}")


class Image:
    """An open image.

    Writable images are held under an exclusive ``flock``, read-only ones under a shared one, for as long as they are
    open. With ``direct`` the page cache is passed by (O_DIRECT) where a transfer is aligned as the host wants it.

    A successor of a killed process cannot get the lock before that process's I/O is over, so ``lock_seconds`` is
    how long to wait for that.
    """

    def __init__(self, path: str, *, read_only: bool, lock_seconds: float, direct: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self.direct = direct
        self.fd = self._open(os.O_DIRECT if direct else 0, claim=not read_only)
        # What is not aligned as ``direct`` asks for goes through the page cache, and is over before a process can end.
        # Everything that may outlive the process goes through ``fd``, which has the lock.
        self._buffered = self.fd
        try:
            if direct:
                self._buffered = self._open(0, claim=False)
            self.is_block_device = self._check_type()
            self._lock(lock_seconds)
            self.length = self._measure()
            self.geometry = self._geometry()
        except BaseException:
            self.close()
            raise

    def _open(self, more: int, *, claim: bool) -> int:
        flags = os.O_CLOEXEC | more | (os.O_RDONLY if self.read_only else os.O_RDWR)
        try:
            # O_EXCL on a block device, without O_CREAT, means "not while it is mounted or otherwise claimed". One
            # descriptor claims it, for two would be in each other's way.
            if claim and stat.S_ISBLK(os.stat(self.path).st_mode):
                flags |= os.O_EXCL
            # A FIFO would make open() wait for a peer; it is refused by type right after.
            return os.open(self.path, flags | os.O_NONBLOCK)
        except OSError as error:
            if more & os.O_DIRECT and error.errno == errno.EINVAL:
                raise ImageUnusable(
                    f"image {self.path} is on a file system without O_DIRECT: set direct = false"
                ) from None
            raise describe_failure(self.path, error, read_only=self.read_only) from None

    def _check_type(self) -> bool:
        mode = os.fstat(self.fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise ImageUnusable(f"image {self.path} is neither a regular file nor a block device")
        return stat.S_ISBLK(mode)

    def _lock(self, seconds: float) -> None:
        kind = fcntl.LOCK_SH if self.read_only else fcntl.LOCK_EX
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ImageLocked(
                        f"image {self.path} is still locked by another process after {seconds:g} s: stop that process "
                        f"(`fuser {self.path}` names it), or set read_only = true in both"
                    ) from None
            except OSError as error:
                raise ImageUnusable(f"image {self.path} cannot be locked: {error.strerror}") from None
            time.sleep(LOCK_POLL_SECONDS)

    def _size_now(self) -> int:
        if self.is_block_device:
            return int.from_bytes(fcntl.ioctl(self.fd, BLKGETSIZE64, bytes(8)), "little")
        return os.fstat(self.fd).st_size

    def _measure(self) -> int:
        length = self._size_now()
        if length == 0:
            raise ImageUnusable(f"image {self.path} is empty: give it a size, for example `truncate -s 1G {self.path}`")
        if length % SECTOR:
            whole = -(-length // SECTOR) * SECTOR
            raise ImageUnusable(
                f"image {self.path} is {length} bytes long, which is not a multiple of {SECTOR}: "
                f"`truncate -s {whole} {self.path}` rounds it up"
            )
        return length

    def _geometry(self) -> Geometry:
        if not self.is_block_device:
            preferred = os.fstat(self.fd).st_blksize
            block = min(max(SECTOR, preferred), 4096)  # network file systems prefer megabytes, which are no block size
            return Geometry(SECTOR, block, 0, block, preferred if preferred > block else 0)

        def ask(request: int) -> int:
            return int(struct.unpack("=i", fcntl.ioctl(self.fd, request, bytes(4)))[0])

        logical = max(SECTOR, ask(BLKSSZGET))
        return Geometry(
            logical,
            max(logical, ask(BLKPBSZGET)),
            max(0, ask(BLKALIGNOFF)),
            max(0, ask(BLKIOMIN)),
            max(0, ask(BLKIOOPT)),
        )

    def remeasure(self) -> bool:
        """Look whether the image was resized; True = ``length`` changed. Odd sizes are ignored."""
        length = self._size_now()
        if length == self.length or length % SECTOR:
            return False
        self.length = length
        return True

    @property
    def identity(self) -> str:
        """Tells whether a successor has the same image: device and inode (block device: its number), and length."""
        found = os.fstat(self.fd)
        where = f"block {found.st_rdev}" if self.is_block_device else f"file {found.st_dev} {found.st_ino}"
        return f"{where} {self.length}"

    def read(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill ``views`` from byte ``offset``; raises OSError."""
        self._transfer(os.preadv, views, offset)

    def write(self, views: Sequence[memoryview], offset: int) -> None:
        """Write ``views`` at byte ``offset``; raises OSError."""
        self._transfer(os.pwritev, views, offset)

    def _transfer(
        self, operation: Callable[[int, list[memoryview], int], int], views: Sequence[memoryview], offset: int
    ) -> None:
        """preadv or pwritev until every view is through: at most IOV_MAX at once, short transfers continued."""
        position = 0
        while position < len(views):
            batch = list(views[position : position + IOV_MAX])
            position += len(batch)
            while batch:
                done = operation(self._buffered, batch, offset)
                if done == 0:
                    raise ImageEnded(errno.EIO, f"image {self.path} ends before byte {offset}")
                offset += done
                batch = _rest(batch, done)

    def flush(self) -> None:
        """Have everything written so far on stable storage; raises OSError."""
        os.fdatasync(self.fd)

    def discard(self, offset: int, length: int) -> None:
        """Give back the storage of a range where the host can; the content is undefined afterwards. Raises OSError."""
        discard(self.fd, offset, length, block_device=self.is_block_device)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Make a range read as zeroes, giving back its storage if ``unmap`` and the host can; raises OSError."""
        if unmap and deallocate(self.fd, offset, length):
            return
        if not zero_in_place(self.fd, offset, length):
            self._overwrite_with_zeroes(offset, length)

    def _overwrite_with_zeroes(self, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            part = ZEROES[: min(len(ZEROES), end - offset)]
            self.write([part], offset)
            offset += len(part)

    def close(self) -> None:
        """Close, and so unlock."""
        if self._buffered != self.fd:
            os.close(self._buffered)
        os.close(self.fd)


def _rest(views: list[memoryview], done: int) -> list[memoryview]:
    """``views`` without their first ``done`` bytes."""
    for index, view in enumerate(views):
        if done < len(view):
            return [view[done:], *views[index + 1 :]]
        done -= len(view)
    return []
