# SPDX-License-Identifier: MIT
"""What a disk says of itself: feature bits and configuration space (virtio 1.4, 5.2.3 and 5.2.4)."""

from __future__ import annotations

import struct
from enum import IntFlag

from ivshmem_virtio.devices.blk_image import SECTOR, Image
from ivshmem_virtio.devices.blk_null import NullImage
from ivshmem_virtio.devices.blk_request import (
    MAX_DISCARD_SECTORS,
    MAX_DISCARD_SEGMENTS,
    MAX_ZEROES_SECTORS,
    MAX_ZEROES_SEGMENTS,
)

CONFIG = struct.Struct("<QII4sIBBHIBBHIIIIIB3x")
WRITEBACK_OFFSET = 32

PAGE = 4096
DESCRIPTOR = 16


class Feature(IntFlag):
    """Feature bits of the block device."""

    SIZE_MAX = 1 << 1
    SEG_MAX = 1 << 2
    RO = 1 << 5
    BLK_SIZE = 1 << 6
    FLUSH = 1 << 9
    TOPOLOGY = 1 << 10
    CONFIG_WCE = 1 << 11
    MQ = 1 << 12
    DISCARD = 1 << 13
    WRITE_ZEROES = 1 << 14


ALWAYS = Feature.SIZE_MAX | Feature.SEG_MAX | Feature.BLK_SIZE | Feature.FLUSH | Feature.TOPOLOGY


def segment_limits(window: int, queue_size: int) -> tuple[int, int]:
    """(seg_max, size_max) such that one request takes at most a quarter of the window, whatever its shape.

    That includes what goes with the data: an indirect table, and a page for header and status byte. Segments of a page
    each must be possible, because that is what scattered guest memory turns into.
    """
    quarter = window // 4 - PAGE
    segments = max(1, min(queue_size - 2, quarter // (PAGE + DESCRIPTOR)))
    return segments, (quarter - segments * DESCRIPTOR) // segments // PAGE * PAGE


def config_space(
    image: Image | NullImage, segments: int, segment_size: int, *, writeback: bool, queues: int, read_only: bool
) -> bytes:
    """struct virtio_blk_config as far as ``write_zeroes_may_unmap`` and its padding."""
    geometry = image.geometry
    blocks = geometry.logical
    alignment = geometry.physical // SECTOR
    changing = not read_only
    return CONFIG.pack(
        image.length // SECTOR,
        segment_size,
        segments,
        bytes(4),  # no CHS geometry
        blocks,
        (geometry.physical // blocks).bit_length() - 1,
        min(geometry.alignment_offset // blocks, 0xFF),
        min(geometry.minimum // blocks, 0xFFFF),
        geometry.optimal // blocks,
        writeback,
        0,
        queues,
        MAX_DISCARD_SECTORS if changing else 0,
        MAX_DISCARD_SEGMENTS if changing else 0,
        alignment if changing else 0,
        MAX_ZEROES_SECTORS if changing else 0,
        MAX_ZEROES_SEGMENTS if changing else 0,
        changing,
    )
