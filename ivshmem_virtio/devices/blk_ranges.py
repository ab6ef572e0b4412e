# SPDX-License-Identifier: MIT
"""Deallocating and zeroing byte ranges of an open file or block device, for which Python has no call of its own."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

# <linux/falloc.h>, <linux/fs.h>
FALLOC_FL_KEEP_SIZE = 0x01
FALLOC_FL_PUNCH_HOLE = 0x02
FALLOC_FL_ZERO_RANGE = 0x10
BLKDISCARD = 0x1277

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.ENOTTY, errno.EINVAL)

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_fallocate.restype = ctypes.c_int


def _try(fd: int, mode: int, offset: int, length: int) -> bool:
    """fallocate(2); False = this file system or device cannot do that. Raises OSError for everything else."""
    while _fallocate(fd, mode, offset, length) != 0:
        code = ctypes.get_errno()
        if code in _UNSUPPORTED:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


def deallocate(fd: int, offset: int, length: int) -> bool:
    """Free the storage of a range, which reads as zeroes afterwards; False = cannot."""
    return _try(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length)


def zero_in_place(fd: int, offset: int, length: int) -> bool:
    """Zero a range without writing it and without giving up its storage; False = cannot."""
    return _try(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length)


def discard(fd: int, offset: int, length: int, *, block_device: bool) -> None:
    """Tell the host that nobody needs a range. Where the host has no use for that, it is no error."""
    if not block_device:
        deallocate(fd, offset, length)
        return
    try:
        fcntl.ioctl(fd, BLKDISCARD, struct.pack("=QQ", offset, length))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
