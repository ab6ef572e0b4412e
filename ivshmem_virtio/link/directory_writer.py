# SPDX-License-Identifier: MIT
"""The only writer of a directory. It never maps the region, and never reads it back: a guest can write all of it."""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterable, Mapping

from ivshmem_virtio.link.directory_entry import BODY, check_layout, check_overlap, encode_entry
from ivshmem_virtio.link.directory_errors import DirectoryFull, DirectorySizeInvalid, LinkNameTaken, NoSuchLink
from ivshmem_virtio.link.layout import (
    DIRECTORY_ENTRY_SIZE,
    DIRECTORY_FIRST_ENTRY,
    DIRECTORY_MAGIC,
    DIRECTORY_SIZE,
    DIRECTORY_VERSION,
    PAGE_SIZE,
    Directory,
    Entry,
    EntryState,
    LinkLayout,
)

WORD = struct.Struct("<I")
FIXED_HEADER = struct.Struct("<IIQII")
"""The header from ``version`` on."""


class DirectoryWriter:
    """Writes the directory of the region ``memory`` (a descriptor, which stays the caller's).

    Each pwrite(2) takes and releases the file's lock, so other CPUs see these writes in the order they are made here.
    """

    def __init__(self, memory: int, region_size: int, directory_size: int = DIRECTORY_SIZE) -> None:
        """Writes nothing yet. Raises DirectorySizeInvalid."""
        if directory_size < PAGE_SIZE or directory_size % PAGE_SIZE or directory_size > region_size:
            raise DirectorySizeInvalid(
                f"directory of {directory_size} bytes in a region of {region_size}:"
                f" must be a multiple of {PAGE_SIZE} inside it"
            )
        self._memory = memory
        self._region_size = region_size
        self._directory_size = directory_size
        self._slots: list[LinkLayout | None] = [None] * (
            (directory_size - DIRECTORY_FIRST_ENTRY) // DIRECTORY_ENTRY_SIZE
        )
        # Where a reader met an earlier writer's numbers, equal ones must not mean an equal entry: no start at 0.
        self._sequences = [secrets.randbits(31) << 1 for _ in self._slots]

    @property
    def links(self) -> list[LinkLayout]:
        """The links that have an entry, removing ones included."""
        return [link for link in self._slots if link is not None]

    def set_up(self, links: Iterable[LinkLayout] = ()) -> None:
        """Write a whole new directory, its magic last. Raises what ``add`` raises."""
        os.pwrite(self._memory, bytes(self._directory_size), 0)
        self._slots = [None] * len(self._slots)
        for link in links:
            self.add(link)
        header = FIXED_HEADER.pack(
            DIRECTORY_VERSION, self._directory_size, self._region_size, self._link_count(), DIRECTORY_ENTRY_SIZE
        )
        os.pwrite(self._memory, header, Directory.VERSION)
        os.pwrite(self._memory, DIRECTORY_MAGIC, Directory.MAGIC)

    def take_over(self, slots: Mapping[int, LinkLayout]) -> None:
        """Go on with an earlier writer's directory; ``slots`` is what that writer knew, not what the region says."""
        self._slots = [slots.get(number) for number in range(len(self._slots))]

    def slots(self) -> dict[int, LinkLayout]:
        """Entry number to link, for ``take_over``."""
        return {number: link for number, link in enumerate(self._slots) if link is not None}

    def add(self, link: LinkLayout) -> None:
        """Publish a link in the first free entry.

        Raises the DirectoryError of the rule it breaks, LinkNameTaken or DirectoryFull.
        """
        body = encode_entry(EntryState.IN_USE, link)
        check_layout(link, self._directory_size, self._region_size)
        check_overlap(link, self.links)
        if any(other.name == link.name for other in self.links):
            raise LinkNameTaken(f"there is a link {link.name!r} already; names of a region's links differ")
        if None not in self._slots:
            raise DirectoryFull(f"no entry left for link {link.name!r}: the directory has {len(self._slots)}")
        number = self._slots.index(None)
        self._slots[number] = link
        self._write_entry(number, body)
        self._write_link_count()

    def begin_removal(self, name: str) -> None:
        """Ask the front-end to let go of a link; raises NoSuchLink."""
        number, link = self._find(name)
        self._write_entry(number, encode_entry(EntryState.REMOVING, link))

    def remove(self, name: str) -> None:
        """Free the entry, once the front-end's state is 0 or the front-end is gone; raises NoSuchLink."""
        number, _ = self._find(name)
        self._slots[number] = None
        self._write_entry(number, bytes(BODY.size))
        self._write_link_count()

    def _find(self, name: str) -> tuple[int, LinkLayout]:
        for number, link in enumerate(self._slots):
            if link is not None and link.name == name:
                return number, link
        raise NoSuchLink(
            f"there is no link {name!r}; there are: {', '.join(link.name for link in self.links) or 'none'}"
        )

    def _write_entry(self, number: int, body: bytes) -> None:
        start = DIRECTORY_FIRST_ENTRY + number * DIRECTORY_ENTRY_SIZE
        sequence = self._sequences[number]
        os.pwrite(self._memory, WORD.pack(sequence + 1), start + Entry.SEQUENCE)
        os.pwrite(self._memory, body, start + Entry.STATE)
        self._sequences[number] = (sequence + 2) & 0xFFFFFFFF
        os.pwrite(self._memory, WORD.pack(self._sequences[number]), start + Entry.SEQUENCE)

    def _link_count(self) -> int:
        return max((number + 1 for number, link in enumerate(self._slots) if link is not None), default=0)

    def _write_link_count(self) -> None:
        os.pwrite(self._memory, WORD.pack(self._link_count()), Directory.LINK_COUNT)
