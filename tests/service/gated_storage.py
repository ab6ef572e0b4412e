# SPDX-License-Identifier: MIT
"""A block device whose writes wait until they are let go: a loop device, and the throttle of a control group."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import pytest

from .running_service import wait_until

THROTTLE = Path("/sys/fs/cgroup/blkio")
LIMIT = "blkio.throttle.write_bps_device"
SIZE = 4 << 20


class GatedStorage:
    """``path`` is the block device. Reads never wait."""

    def __init__(self, path: Path, group: Path) -> None:
        self.path = path
        self._group = group
        number = os.stat(path).st_rdev
        self._device = f"{os.major(number)}:{os.minor(number)}"

    def hold(self, pid: int) -> None:
        """From now on, writes that this process submits do not reach the device."""
        self._limit(1)
        (self._group / "cgroup.procs").write_text(str(pid))

    def release(self) -> None:
        """Everything goes on, also what was submitted by a process that has died since."""
        self._limit(0)

    def _limit(self, bytes_per_second: int) -> None:
        (self._group / LIMIT).write_text(f"{self._device} {bytes_per_second}\n")

    def read(self, offset: int, length: int) -> bytes:
        """What has reached the device."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return os.pread(fd, length, offset)
        finally:
            os.close(fd)


@contextmanager
def gated_storage(folder: Path) -> Iterator[GatedStorage]:
    """For the length of a test, which is skipped where this needs more than there is."""
    if os.geteuid() or not (THROTTLE / "cgroup.procs").exists() or not Path("/dev/loop-control").exists():
        pytest.skip("storage that waits on demand takes root, loop devices and the blkio controller of cgroup v1")
    backing = folder / "gated.img"
    backing.write_bytes(os.urandom(SIZE))
    with ExitStack() as stack:
        group = THROTTLE / f"ivshmem-virtio-{token_hex(4)}"
        group.mkdir()
        stack.callback(_remove, group)
        if not (group / LIMIT).exists():
            pytest.skip("storage that waits on demand takes a kernel with CONFIG_BLK_DEV_THROTTLING")
        attach = ["losetup", "--find", "--show", str(backing)]
        device = Path(subprocess.run(attach, capture_output=True, text=True, check=True).stdout.strip())
        stack.callback(subprocess.run, ["losetup", "--detach", str(device)], check=True)
        storage = GatedStorage(device, group)
        stack.callback(_empty, group)
        stack.callback(storage.release)
        yield storage


def _empty(group: Path) -> None:
    """Whoever is in there goes back to the others."""
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            (THROTTLE / "cgroup.procs").write_text(pid)


def _remove(group: Path) -> None:
    """What a killed process had under way may be in there for a moment after it."""

    def removed() -> bool:
        try:
            group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    wait_until(removed, "the control group is empty")
