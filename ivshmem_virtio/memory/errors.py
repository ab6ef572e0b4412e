# SPDX-License-Identifier: MIT
"""What can go wrong with the memory object of a region, one class per kind."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class RegionError(IvshmemVirtioError):
    """A region cannot be created, opened or used as asked."""


class RegionSize(RegionError):
    """A region's size is not a power of two of at least one page: QEMU makes a PCI BAR of it."""


class RegionName(RegionError):
    """A region's name is not one for shm_open(3)."""


class RegionNameTaken(RegionError):
    """Something that is not ours has the name."""


class RegionInUse(RegionError):
    """A living process keeps a region of this name."""


class RegionSizeDiffers(RegionError):
    """An existing region has another size than the one asked for."""


class RegionNoSpace(RegionError):
    """The file system of the region has not enough free space."""


class RegionNotAllowed(RegionError):
    """The system does not let this user create, open or change the region."""


class RegionMissing(RegionError):
    """There is no region of this name."""


class OutsideRegion(RegionError):
    """An offset and length do not lie inside the region, or inside what is left of it."""


class DirectoryLocked(RegionError):
    """Another process writes the directory of this region."""


class UnknownOwner(RegionError):
    """No such user or group."""
