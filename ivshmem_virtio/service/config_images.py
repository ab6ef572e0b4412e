# SPDX-License-Identifier: MIT
"""Whether the images a configuration names can be used as it says; looked at before anything starts."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ivshmem_virtio.service.config_blk import BlkConfig
from ivshmem_virtio.service.config_checks import devices, where
from ivshmem_virtio.service.config_errors import DuplicateName, ImageUnusable
from ivshmem_virtio.service.config_models import Config

SECTOR = 512


def check_images(config: Config) -> None:
    """Every image exists, can be used as configured, and has one user if any writes it.

    Raises ImageUnusable or DuplicateName.
    """
    seen: dict[tuple[int, int], tuple[str, bool]] = {}
    for guest, device in devices(config):
        if not isinstance(device, BlkConfig) or device.path is None:
            continue
        owner = where(guest, device)
        identity = _check_image(device, device.path, owner)
        other, other_writes = seen.setdefault(identity, (owner, not device.read_only))
        if other != owner and (other_writes or not device.read_only):
            raise DuplicateName(
                f"{owner}: image {device.path} is also that of {other}; a second user of an image that is written "
                "destroys it: set read_only on both, or give each an image"
            )


def _check_image(device: BlkConfig, path: Path, owner: str) -> tuple[int, int]:
    remedy = "create the image or correct path"
    try:
        status = path.stat()
    except OSError as error:
        raise ImageUnusable(f"{owner}: image {path}: {error.strerror}; {remedy}") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise ImageUnusable(f"{owner}: image {path} is neither a file nor a block device; {remedy}")
    _check_access(device, path, owner)
    size = _image_size(path, owner)
    if size == 0 or size % SECTOR:
        raise ImageUnusable(
            f"{owner}: image {path} has {size} bytes; it must be a multiple of {SECTOR} and not empty: "
            "extend it with truncate"
        )
    if stat.S_ISBLK(status.st_mode):
        return os.major(status.st_rdev), os.minor(status.st_rdev)
    return -1 - status.st_dev, status.st_ino


def _check_access(device: BlkConfig, path: Path, owner: str) -> None:
    if not os.access(path, os.R_OK):
        raise ImageUnusable(f"{owner}: image {path} cannot be read by this user; change its mode or owner")
    if not device.read_only and not os.access(path, os.W_OK):
        raise ImageUnusable(
            f"{owner}: image {path} cannot be written by this user; change its mode or owner, or set read_only = true"
        )


def _image_size(path: Path, owner: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "no such device" if error.errno == errno.ENXIO else error.strerror
        raise ImageUnusable(f"{owner}: image {path}: {reason}") from None
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
