# SPDX-License-Identifier: MIT
"""A driver accepts a header only if every number in it keeps the driver inside its window."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import BackendLine, Capability, Header, QueueLine
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.transport.driver.backend import read_backend, read_ring_block
from ivshmem_virtio.transport.driver.errors import (
    BackendViolation,
    EpochInvalid,
    ExtensionInvalid,
    HeaderSizeInvalid,
    RevisionUnsupported,
    RingBlockInvalid,
)

LENGTH = 1 << 16
MAP = RegisterMap.of(20, (64, 8))
LINE = MAP.backend_line
Damage = Callable[[Window], None]


def published() -> Window:
    """A window with a header as a back-end of two queues publishes it."""
    fd = os.memfd_create("header")
    os.ftruncate(fd, LENGTH)
    window = Window(fd, 0, LENGTH)
    os.close(fd)
    window.store32(Header.REVISION, 2)
    window.store32(Header.SIZE, MAP.reserved)
    window.store16(Header.EXT_OFFSET, LINE // 64)
    window.store32(LINE + BackendLine.LENGTH, MAP.end - LINE)
    window.store32(LINE + BackendLine.CAPABILITIES, 0xFFFFFFE1)
    window.store64(LINE + BackendLine.EPOCH, 5)
    window.store32(LINE + BackendLine.CONFIG_LENGTH, 20)
    window.store16(LINE + BackendLine.QUEUE_COUNT, 2)
    for queue in range(2):
        offset, length = MAP.ring_block(queue)
        window.store64(MAP.queue_line(queue) + QueueLine.RING_OFFSET, offset)
        window.store32(MAP.queue_line(queue) + QueueLine.RING_LENGTH, length)
    return window


def test_reads_what_a_backend_published() -> None:
    window = published()
    backend = read_backend(window)
    assert (backend.revision, backend.size, backend.config_length) == (2, MAP.reserved, 20)
    assert backend.epoch == 5
    assert backend.registers_end == MAP.end
    assert backend.capabilities == Capability.HOST_PLACED_RINGS, "unknown capabilities are not ours to use"
    assert [read_ring_block(window, backend, q) for q in range(3)] == [MAP.ring_block(0), MAP.ring_block(1), None]
    assert backend.extension is not None
    assert backend.extension.event_byte(1) == MAP.event_byte(1)
    assert backend.extension.queue_line(1) == MAP.queue_line(1)
    assert backend.extension.frontend_line == MAP.frontend_line


def test_revision_1_view_of_it() -> None:
    backend = read_backend(published(), extended=False)
    assert backend.extension is None
    assert backend.config_length == MAP.reserved - 0x4C
    assert backend.registers_end == MAP.reserved
    assert read_ring_block(published(), backend, 0) is None


def test_revision_1_header_of_odd_size() -> None:
    window = published()
    window.store32(Header.REVISION, 1)
    window.store32(Header.SIZE, 0x58)
    backend = read_backend(window)
    assert (backend.extension, backend.config_length, backend.size) == (None, 12, 0x58)


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (Header.REVISION, 0, RevisionUnsupported),
        (Header.SIZE, 0, HeaderSizeInvalid),
        (Header.SIZE, 0x4B, HeaderSizeInvalid),
        (Header.SIZE, LENGTH, HeaderSizeInvalid),
        (Header.SIZE, 0xFFFFFFFF, HeaderSizeInvalid),
        (Header.SIZE, MAP.reserved + 4, HeaderSizeInvalid),
        (LINE + BackendLine.LENGTH, 0, ExtensionInvalid),
        (LINE + BackendLine.LENGTH, 64, ExtensionInvalid),
        (LINE + BackendLine.LENGTH, 128, ExtensionInvalid),
        (LINE + BackendLine.LENGTH, 130, ExtensionInvalid),
        (LINE + BackendLine.LENGTH, 0xFFFFFFC0, ExtensionInvalid),
        (LINE + BackendLine.EPOCH, 0, EpochInvalid),
        (LINE + BackendLine.CONFIG_LENGTH, LINE, ExtensionInvalid),
        (LINE + BackendLine.CONFIG_LENGTH, 0xFFFFFFFF, ExtensionInvalid),
    ],
)
def test_one_wrong_word(offset: int, value: int, error: type[Exception]) -> None:
    window = published()
    window.store32(offset, value)
    with pytest.raises(error):
        read_backend(window)


@pytest.mark.parametrize("ext_offset", [1, (MAP.reserved - 64) // 64, 0xFFFF])
def test_extension_elsewhere(ext_offset: int) -> None:
    window = published()
    window.store16(Header.EXT_OFFSET, ext_offset)
    with pytest.raises(ExtensionInvalid):
        read_backend(window)


def test_more_queues_than_lines() -> None:
    window = published()
    window.store16(LINE + BackendLine.QUEUE_COUNT, 3)
    with pytest.raises(ExtensionInvalid, match="3 queues"):
        read_backend(window)


@pytest.mark.parametrize(
    ("offset", "length"),
    [(64, 64), (MAP.end + 32, 64), (MAP.end, MAP.reserved), (1 << 63, 64), (MAP.end - 64, 128), (MAP.reserved, 64)],
)
def test_ring_block_outside_the_reserved_part(offset: int, length: int) -> None:
    window = published()
    window.store64(MAP.queue_line(0) + QueueLine.RING_OFFSET, offset)
    window.store32(MAP.queue_line(0) + QueueLine.RING_LENGTH, length)
    with pytest.raises(RingBlockInvalid, match="queue 0"):
        read_ring_block(window, read_backend(window), 0)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 0x260 // 4), st.integers(0, 0xFFFFFFFF)), min_size=1, max_size=6))
def test_any_damage_is_refused_or_harmless(damage: list[tuple[int, int]]) -> None:
    window = published()
    for word, value in damage:
        window.store32(word * 4, value)
    try:
        backend = read_backend(window)
        blocks = [read_ring_block(window, backend, queue) for queue in range(70)]
    except BackendViolation:
        return
    assert 0x4C <= backend.size < LENGTH
    assert 0x4C + backend.config_length <= backend.size
    assert backend.registers_end <= backend.size
    assert all(block is None or block[0] + block[1] <= backend.size for block in blocks)
