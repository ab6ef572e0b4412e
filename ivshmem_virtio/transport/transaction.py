# SPDX-License-Identifier: MIT
"""The transaction word of the header (docs/protocol.md, 5)."""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio.link.layout import Header

SIZES: dict[int, tuple[int, ...]] = {
    Header.DEVICE_FEATURES_SEL: (4,),
    Header.DRIVER_FEATURES: (4,),
    Header.DRIVER_FEATURES_SEL: (4,),
    Header.QUEUE_SEL: (4,),
    Header.QUEUE_SIZE: (2,),
    Header.QUEUE_DRIVER_VECTOR: (2,),
    Header.QUEUE_ENABLE: (2, 4),
    Header.QUEUE_DESC: (8,),
    Header.QUEUE_DRIVER: (8,),
    Header.QUEUE_DEVICE: (8,),
    Header.DEVICE_STATUS: (4, 1),
}
"""Sizes, in bytes, a driver may use on each field; the first is the one the field is read with."""


@dataclass(frozen=True)
class Transaction:
    """One transaction word, taken apart."""

    word: int

    @property
    def offset(self) -> int:
        """Header offset of the field written."""
        return self.word & 0xFFFF

    @property
    def size(self) -> int:
        """Bytes written; 0 when a revision-1 driver does not say."""
        return self.word >> 16 & 0xF

    @property
    def sequence(self) -> int:
        return self.word >> 20

    @property
    def is_config(self) -> bool:
        return self.offset >= Header.CONFIG

    def field_size(self) -> int | None:
        """Bytes to read from the field, None when no driver may write there or not in that size."""
        sizes = SIZES.get(self.offset, ())
        if not sizes or (self.size and self.size not in sizes):
            return None
        return sizes[0]

    @classmethod
    def of(cls, offset: int, size: int, sequence: int) -> Transaction:
        """The word for a write of ``size`` bytes at ``offset``."""
        return cls((sequence & 0xFFF) << 20 | size << 16 | offset)
