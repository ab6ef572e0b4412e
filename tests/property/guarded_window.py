# SPDX-License-Identifier: MIT
"""A window in the middle of a file, with known bytes before and behind it that nobody may touch."""

import mmap
import os

from ivshmem_virtio.core import Window

PAGE = mmap.PAGESIZE
CANARY = bytes(range(256)) * (PAGE // 256)


class GuardedWindow:
    """`length` is a multiple of the page size."""

    def __init__(self, length: int) -> None:
        fd = os.memfd_create("ivshmem-virtio-guarded")
        try:
            os.ftruncate(fd, length + 2 * PAGE)
            os.pwrite(fd, CANARY, 0)
            os.pwrite(fd, CANARY, PAGE + length)
            self.window = Window(fd, PAGE, length)
            self.whole = mmap.mmap(fd, length + 2 * PAGE)
        finally:
            os.close(fd)
        self.length = length
        self.memory = memoryview(self.whole)[PAGE : PAGE + length]

    def check_canaries(self) -> None:
        assert self.whole[:PAGE] == CANARY
        assert self.whole[PAGE + self.length :] == CANARY
