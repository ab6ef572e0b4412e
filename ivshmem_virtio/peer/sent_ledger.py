# SPDX-License-Identifier: MIT
"""How far a client has been told what it is to be told: known also to whoever comes after a killed server."""

from __future__ import annotations

import os
import struct

WORD = struct.Struct("<Q")
GENERATION_SHIFT = 32
LARGEST_COUNT = (1 << 31) - 1


class SentLedger:
    """One word in a memory file: which client, how many whole messages it got, and whether one was on its way.

    A single write of 8 bytes is never cut in two by SIGKILL.
    """

    def __init__(self, descriptor: int) -> None:
        """Takes ``descriptor``."""
        self.descriptor = descriptor

    @classmethod
    def new(cls) -> SentLedger:
        """An empty one; raises OSError."""
        return cls(os.memfd_create("ivshmem-virtio-sent", os.MFD_CLOEXEC))

    def write(self, generation: int, sent: int, *, sending: bool) -> None:
        """Note that client ``generation`` got ``sent`` messages, and whether the next one is being sent."""
        word = generation << GENERATION_SHIFT | (sent & LARGEST_COUNT) << 1 | sending
        os.pwrite(self.descriptor, WORD.pack(word), 0)

    def read(self, generation: int) -> int | None:
        """How many messages client ``generation`` got; None where nobody can know, because one was on its way."""
        data = os.pread(self.descriptor, WORD.size, 0)
        if len(data) < WORD.size:
            return 0
        (word,) = WORD.unpack(data)
        if word >> GENERATION_SHIFT != generation:
            return 0
        return None if word & 1 else (word >> 1) & LARGEST_COUNT

    def close(self) -> None:
        os.close(self.descriptor)
