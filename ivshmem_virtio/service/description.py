# SPDX-License-Identifier: MIT
"""What the descriptors of a service are: a JSON object in a memory file, replaced as a whole or not at all.

Two slots: the one with the higher number whose checksum is right counts. A process that is killed while it writes
leaves the other one.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from typing import Any

from ivshmem_virtio.errors import IvshmemVirtioError

DESCRIPTION_MAGIC = b"IVSHMVLT"
DESCRIPTION_VERSION = 1
SLOT_HEADER = struct.Struct("<8sIIQQ32s")
"""Magic, version, zero, number, length of the text that follows, its SHA-256."""
SLOT_SIZE = 64 << 20
"""Room for each slot; the file is as large as what was written, not as this."""

Record = dict[str, Any]


class DescriptionUnusable(IvshmemVirtioError):
    """What an earlier keeper left cannot be understood."""


class DescriptionVersion(DescriptionUnusable):
    """What an earlier keeper left was written by another version of this program."""


class Description:
    """Owns the memory file."""

    def __init__(self, descriptor: int) -> None:
        """Goes on with a file that may have something in it already."""
        self.descriptor = descriptor
        self._number = max((number for number, _ in slots(descriptor)), default=0)

    @classmethod
    def new(cls) -> Description:
        """An empty one; raises OSError."""
        return cls(os.memfd_create("ivshmem-virtio-description", os.MFD_CLOEXEC))

    def write(self, record: Record) -> None:
        """Replace what is there. The header goes last."""
        text = json.dumps(record).encode()
        number = self._number + 1
        start = (number & 1) * SLOT_SIZE
        write_all(self.descriptor, bytes(SLOT_HEADER.size), start)
        write_all(self.descriptor, text, start + SLOT_HEADER.size)
        digest = hashlib.sha256(text).digest()
        header = SLOT_HEADER.pack(DESCRIPTION_MAGIC, DESCRIPTION_VERSION, 0, number, len(text), digest)
        write_all(self.descriptor, header, start)
        self._number = number

    def close(self) -> None:
        os.close(self.descriptor)


def read_description(descriptor: int) -> Record:
    """What was written last; raises DescriptionVersion and DescriptionUnusable."""
    found = slots(descriptor)
    if not found:
        raise DescriptionUnusable("what the last keeper left has no valid description; begin with serve --afresh")
    _, text = max(found)
    record: Record = json.loads(text)
    return record


def slots(descriptor: int) -> list[tuple[int, bytes]]:
    """Number and text of every whole slot; raises DescriptionVersion."""
    found = []
    for start in (0, SLOT_SIZE):
        header = os.pread(descriptor, SLOT_HEADER.size, start)
        if len(header) < SLOT_HEADER.size:
            continue
        magic, version, _, number, length, digest = SLOT_HEADER.unpack(header)
        if magic != DESCRIPTION_MAGIC:
            continue
        if version != DESCRIPTION_VERSION:
            raise DescriptionVersion(
                f"the last keeper left a description of version {version}, this program knows version"
                f" {DESCRIPTION_VERSION}; take over with the program that fits, or begin with serve --afresh"
            )
        text = os.pread(descriptor, min(length, SLOT_SIZE), start + SLOT_HEADER.size)
        if hashlib.sha256(text).digest() == digest:
            found.append((number, text))
    return found


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """pwrite(2) until everything is written."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
