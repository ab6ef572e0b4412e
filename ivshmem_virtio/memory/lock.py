# SPDX-License-Identifier: MIT
"""Who keeps a region, and who writes its directory: two independent locks that die with their process.

Descriptors of a region are handed to every peer, and a lock belongs to the open file, not to the process. So each lock
is taken on a file opened anew, which is never passed on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from ivshmem_virtio.memory.errors import DirectoryLocked, RegionNotAllowed

# struct flock of 64-bit Linux: type, whence, start, length (0: to the end), pid.
RECORD_LOCK = struct.Struct("hhqqi")


def reopen(memory: int) -> int:
    """The same memory object, opened anew; raises RegionNotAllowed where its mode forbids that."""
    try:
        return os.open(f"/proc/self/fd/{memory}", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise RegionNotAllowed(
            "this user may not open the region a second time for locking; see its --mode and --owner"
        ) from error


def lock_as_keeper(memory: int) -> int | None:
    """A descriptor that holds the keeper's lock until it is closed; None when a living process holds it."""
    descriptor = reopen(memory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def lock_directory(memory: int) -> int:
    """A descriptor that makes its holder the only writer of the region's directory; raises DirectoryLocked."""
    descriptor = reopen(memory)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, RECORD_LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise DirectoryLocked(
            "another process writes this region's directory; only one may, end the other first"
        ) from error
    return descriptor
