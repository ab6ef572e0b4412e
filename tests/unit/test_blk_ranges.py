# SPDX-License-Identifier: MIT
"""Freeing and zeroing ranges, on things that can, that cannot, and that fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.devices.blk_ranges import deallocate, discard, zero_in_place


@pytest.fixture
def memory() -> Iterator[int]:
    """A file on tmpfs, which frees ranges but does not zero them in place."""
    fd = os.memfd_create("ranges")
    os.write(fd, b"x" * 65536)
    yield fd
    os.close(fd)


def test_deallocated_range_reads_as_zeroes(memory: int) -> None:
    assert deallocate(memory, 4096, 8192)
    assert os.pread(memory, 65536, 0) == b"x" * 4096 + bytes(8192) + b"x" * (65536 - 12288)
    assert os.fstat(memory).st_blocks * 512 == 65536 - 8192


def test_ranges_do_not_make_a_file_longer(memory: int) -> None:
    deallocate(memory, 65536 - 512, 4096)
    zero_in_place(memory, 65536 - 512, 4096)
    assert os.fstat(memory).st_size == 65536


def test_what_cannot_be_done_is_no_error() -> None:
    fd = os.open("/dev/null", os.O_RDWR)
    try:
        assert not deallocate(fd, 0, 512)
        assert not zero_in_place(fd, 0, 512)
        discard(fd, 0, 512, block_device=False)
        discard(fd, 0, 512, block_device=True)
    finally:
        os.close(fd)


@pytest.mark.parametrize("block_device", [False, True])
def test_what_fails_is_an_error(tmp_path: Path, block_device: bool) -> None:
    (tmp_path / "file").write_bytes(bytes(4096))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            deallocate(fd, 0, 512)
    finally:
        os.close(fd)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        discard(fd, 0, 512, block_device=block_device)
