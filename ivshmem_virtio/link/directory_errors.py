# SPDX-License-Identifier: MIT
"""What can be wrong with a directory, one class per rule of docs/protocol.md, 2."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class DirectoryError(IvshmemVirtioError):
    """A directory, or one entry, cannot be used."""


class DirectoryAbsent(DirectoryError):
    """The magic is not there (yet): look again later."""


class DirectoryTooShort(DirectoryError):
    """The memory ends before the directory does."""


class DirectoryVersionUnknown(DirectoryError):
    """The version is not 1."""


class DirectorySizeInvalid(DirectoryError):
    """directory_size is not a positive multiple of 4096 inside the region."""


class RegionSizeInvalid(DirectoryError):
    """region_size is not a multiple of 4096, or more than there is."""


class EntrySizeInvalid(DirectoryError):
    """entry_size is not 64."""


class LinkCountInvalid(DirectoryError):
    """link_count is more than the directory has room for."""


class EntryUnsettled(DirectoryError):
    """An entry changed during every one of a bounded number of tries."""


class EntryStateUnknown(DirectoryError):
    """An entry's state is not 0, 1 or 2."""


class EntryDeviceInvalid(DirectoryError):
    """An entry's device id is 0, which virtio 1.4 (5) reserves."""


class EntryPeerInvalid(DirectoryError):
    """An entry's back-end is no ivshmem peer id (0 to 65535)."""


class EntryMisaligned(DirectoryError):
    """An offset or size of an entry is not a multiple of 4096."""


class EntryTooSmall(DirectoryError):
    """A State Table has less than 4096 bytes, or a window less than 8192."""


class EntryOutsideRegion(DirectoryError):
    """A link ends behind the region."""


class EntryOverlapsDirectory(DirectoryError):
    """A link begins inside the directory."""


class EntryOverlapsLink(DirectoryError):
    """Two links share memory."""


class EntryVectorsInvalid(DirectoryError):
    """A side has no vector, or vectors that no 16-bit number reaches."""


class EntryNameInvalid(DirectoryError):
    """A name is empty, longer than 16 bytes, not UTF-8 or has zero bytes inside."""


class DirectoryFull(DirectoryError):
    """Every entry is in use."""


class LinkNameTaken(DirectoryError):
    """Two links of a region are to have the same name."""


class NoSuchLink(DirectoryError):
    """No link of this name is in the directory."""
