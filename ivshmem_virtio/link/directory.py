# SPDX-License-Identifier: MIT
"""Reading a directory that anybody may be writing: copies, checked, with a bounded number of tries."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ivshmem_virtio.link.directory_entry import BODY, check_layout, check_overlap, decode_entry
from ivshmem_virtio.link.directory_errors import (
    DirectoryAbsent,
    DirectoryError,
    DirectorySizeInvalid,
    DirectoryTooShort,
    DirectoryVersionUnknown,
    EntrySizeInvalid,
    EntryUnsettled,
    LinkCountInvalid,
    RegionSizeInvalid,
)
from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.link.layout import (
    DIRECTORY_ENTRY_SIZE,
    DIRECTORY_FIRST_ENTRY,
    DIRECTORY_MAGIC,
    DIRECTORY_VERSION,
    PAGE_SIZE,
    Entry,
    EntryState,
    LinkLayout,
)

__all__ = [
    "DirectoryEntry",
    "DirectoryWriter",
    "Rejected",
    "Source",
    "read_directory",
    "read_entries",
    "read_entries_of",
]

HEADER = struct.Struct("<8sIIQII")
WORD = struct.Struct("<I")
ENTRY_TRIES = 16

Source = Callable[[int, int], bytes]
"""Offset and length in bytes to a copy of them; each word of it must be one load."""
Rejected = Callable[[int, DirectoryError], None]
"""Told the number of a bad entry, and what is wrong with it."""


@dataclass(frozen=True)
class DirectoryEntry:
    """One entry that is not free."""

    number: int
    state: EntryState
    layout: LinkLayout


def read_directory(memory: int, rejected: Rejected | None = None) -> list[LinkLayout]:
    """The links in use of the region ``memory``; see ``read_entries_of`` for what is raised."""
    return [entry.layout for entry in read_entries_of(memory, rejected) if entry.state == EntryState.IN_USE]


def read_entries_of(memory: int, rejected: Rejected | None = None) -> list[DirectoryEntry]:
    """The entries, removing ones included, of the region ``memory``, without mapping it.

    Raises DirectoryAbsent where there is no directory (yet), else the DirectoryError of the first rule broken. With
    ``rejected``, bad entries are told to it and left out; a bad header is still raised.
    """
    return read_entries(lambda offset, length: os.pread(memory, length, offset), os.fstat(memory).st_size, rejected)


def read_entries(source: Source, memory_size: int, rejected: Rejected | None = None) -> list[DirectoryEntry]:
    """As ``read_entries_of``, from anything that gives copies of the region's bytes."""
    directory_size, region_size, count = read_header(source, memory_size)
    entries: list[DirectoryEntry] = []
    for number in range(count):
        try:
            entry = read_entry(source, number)
            if entry is None:
                continue
            check_layout(entry.layout, directory_size, region_size)
            check_overlap(entry.layout, (other.layout for other in entries))
        except DirectoryError as error:
            error = type(error)(f"directory entry {number}: {error}")
            if rejected is None:
                raise error from None
            rejected(number, error)
        else:
            entries.append(entry)
    return entries


def read_header(source: Source, memory_size: int) -> tuple[int, int, int]:
    """Directory size, region size and number of entries; raises the DirectoryError of the first rule broken."""
    data = source(0, HEADER.size)
    if len(data) < HEADER.size:
        raise DirectoryTooShort(
            f"the memory has {memory_size} bytes, not even the {HEADER.size} of a directory's header"
        )
    magic, version, directory_size, region_size, count, entry_size = HEADER.unpack(data)
    if magic != DIRECTORY_MAGIC:
        raise DirectoryAbsent(f"no directory: the region begins with {magic.hex()}, not {DIRECTORY_MAGIC.hex()}")
    if version != DIRECTORY_VERSION:
        raise DirectoryVersionUnknown(f"directory of version {version}; this program knows version {DIRECTORY_VERSION}")
    if region_size % PAGE_SIZE or not 0 < region_size <= memory_size:
        raise RegionSizeInvalid(f"region_size {region_size}: must be a multiple of {PAGE_SIZE}, at most {memory_size}")
    if directory_size % PAGE_SIZE or not 0 < directory_size <= region_size:
        raise DirectorySizeInvalid(
            f"directory_size {directory_size}: must be a multiple of {PAGE_SIZE} inside the region"
        )
    if entry_size != DIRECTORY_ENTRY_SIZE:
        raise EntrySizeInvalid(f"entry_size {entry_size}: must be {DIRECTORY_ENTRY_SIZE}")
    room = (directory_size - DIRECTORY_FIRST_ENTRY) // DIRECTORY_ENTRY_SIZE
    if count > room:
        raise LinkCountInvalid(f"link_count {count}: a directory of {directory_size} bytes has room for {room}")
    return directory_size, region_size, count


def read_entry(source: Source, number: int) -> DirectoryEntry | None:
    """A settled copy of one entry, None where it is free; raises EntryUnsettled and what decoding raises."""
    start = DIRECTORY_FIRST_ENTRY + number * DIRECTORY_ENTRY_SIZE
    for _ in range(ENTRY_TRIES):
        before = source(start + Entry.SEQUENCE, WORD.size)
        body = source(start + Entry.STATE, BODY.size)
        after = source(start + Entry.SEQUENCE, WORD.size)
        if len(after) < WORD.size or len(body) < BODY.size:
            raise DirectoryTooShort("somebody truncated the region inside its directory")
        if before == after and not before[0] & 1:
            state, layout = decode_entry(body)
            return None if layout is None else DirectoryEntry(number, state, layout)
    raise EntryUnsettled(f"still changing after {ENTRY_TRIES} tries; its writer died in between, or plays tricks")
