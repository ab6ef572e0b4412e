# SPDX-License-Identifier: MIT
"""The driver's buffers never overlap, never leave their room, and come back whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivshmem_virtio.transport.driver.errors import PoolExhausted, PoolMisuse
from ivshmem_virtio.transport.driver.pool import Pool


def test_starts_on_the_line_behind_the_reserved_part() -> None:
    assert Pool(0x58, 0x1000).allocate(1) == 0x80


def test_room_in_pieces_is_not_room_in_one_piece() -> None:
    pool = Pool(64, 64 * 4)
    first, second, third = (pool.allocate(64) for _ in range(3))
    pool.release(first)
    pool.release(third)
    with pytest.raises(PoolExhausted, match="no 128 bytes in one piece among 128 free"):
        pool.allocate(128)
    pool.release(second)
    assert pool.allocate(192) == 64


@pytest.mark.parametrize("end", [0, 64, 100])
def test_no_room_at_all(end: int) -> None:
    with pytest.raises(PoolExhausted):
        Pool(64, end).allocate(1)


def test_double_release_and_foreign_offset_are_refused() -> None:
    pool = Pool(64, 4096)
    offset = pool.allocate(10)
    pool.release(offset)
    for wrong in (offset, 0, offset + 64):
        with pytest.raises(PoolMisuse, match=f"{wrong:#x}"):
            pool.release(wrong)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 700), st.integers(0, 30)), max_size=60))
def test_any_order_of_use(steps: list[tuple[bool, int, int]]) -> None:
    pool = Pool(100, 8000)
    whole = pool.available
    held: dict[int, int] = {}
    for take, length, which in steps:
        if take:
            try:
                offset = pool.allocate(length)
            except PoolExhausted:
                continue
            assert offset >= 128
            assert offset + length <= 8000
            assert all(offset >= o + max(n, 1) or offset + max(length, 1) <= o for o, n in held.items())
            held[offset] = length
        elif held:
            offset = sorted(held)[which % len(held)]
            del held[offset]
            pool.release(offset)
        assert pool.buffers == len(held)
    for offset in held:
        pool.release(offset)
    assert pool.available == whole
    assert pool.allocate(whole) == 128
