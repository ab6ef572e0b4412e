# SPDX-License-Identifier: MIT
"""The header before a frame: only what makes sense, and was negotiated, is passed on."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivshmem_virtio.devices.net_header import (
    HOST_OFFLOADS,
    PLAIN_HEADER,
    Feature,
    NetHeader,
    check_transmitted,
    needed_to_receive,
    with_buffers,
)


def raw(flags: int = 0, gso: int = 0, hdr: int = 0, size: int = 0, start: int = 0, offset: int = 0) -> bytes:
    return struct.pack("<BBHHHHH", flags, gso, hdr, size, start, offset, 0)


def test_a_plain_header_is_accepted_without_any_feature() -> None:
    assert check_transmitted(raw(), 60, 0) == NetHeader()
    assert NetHeader().pack() == PLAIN_HEADER == raw()[:10] + b"\x01\x00"


def test_the_buffer_count_stands_in_the_last_field() -> None:
    assert with_buffers(raw(1, 1, 54, 1448, 34, 16), 3) == raw(1, 1, 54, 1448, 34, 16)[:10] + b"\x03\x00"


def test_unknown_flags_are_ignored() -> None:
    assert check_transmitted(raw(flags=0xFE), 60, HOST_OFFLOADS) == NetHeader()


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (raw(flags=1, start=34, offset=16), 0),
        (raw(flags=1, start=34, offset=25), HOST_OFFLOADS),
        (raw(flags=1, start=65535, offset=65535), HOST_OFFLOADS),
        (raw(1, 1, 54, 1448, 34, 16), int(Feature.CSUM)),
        (raw(1, 4, 54, 1448, 34, 16), int(Feature.CSUM | Feature.HOST_TSO4)),
        (raw(0, 1, 54, 1448, 34, 16), HOST_OFFLOADS),
        (raw(1, 1, 54, 0, 34, 16), HOST_OFFLOADS),
        (raw(1, 1, 61, 1448, 34, 16), HOST_OFFLOADS),
        (raw(1, 3, 54, 1448, 34, 16), HOST_OFFLOADS),
        (raw(1, 0x80, 54, 1448, 34, 16), HOST_OFFLOADS),
        (raw(1, 0x81, 54, 1448, 34, 16), HOST_OFFLOADS & ~Feature.HOST_ECN),
        (raw()[:11], HOST_OFFLOADS),
    ],
)
def test_headers_that_make_no_sense_for_sixty_bytes_are_refused(header: bytes, accepted: int) -> None:
    assert check_transmitted(header, 60, accepted) is None


@given(st.binary(min_size=12, max_size=12), st.integers(14, 70000), st.integers(0, (1 << 17) - 1))
def test_whatever_passes_lies_inside_the_frame(header: bytes, length: int, accepted: int) -> None:
    checked = check_transmitted(header, length, accepted)
    if checked is None:
        return
    assert not checked.needs_checksum or checked.csum_start + checked.csum_offset + 2 <= length
    assert not checked.gso or (checked.needs_checksum and checked.gso_size)
    assert checked.hdr_len <= length
    assert len(checked.pack()) == 12


def test_each_offload_asks_for_its_receive_feature() -> None:
    assert needed_to_receive(NetHeader()) == 0
    assert needed_to_receive(NetHeader(flags=1)) == Feature.GUEST_CSUM
    assert needed_to_receive(NetHeader(1, 1)) == Feature.GUEST_CSUM | Feature.GUEST_TSO4
    assert needed_to_receive(NetHeader(1, 0x84)) == Feature.GUEST_CSUM | Feature.GUEST_TSO6 | Feature.GUEST_ECN
