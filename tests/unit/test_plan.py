# SPDX-License-Identifier: MIT
"""Where links come to lie, which vectors they get, and who serves them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivshmem_virtio.cli.plan_table import plan_table
from ivshmem_virtio.devices import registry
from ivshmem_virtio.link.directory_entry import check_layout, check_overlap, encode_entry
from ivshmem_virtio.link.layout import DIRECTORY_SIZE, PAGE_SIZE, EntryState
from ivshmem_virtio.service.config import parse_config
from ivshmem_virtio.service.config_errors import RegionTooSmall, WindowTooSmall
from ivshmem_virtio.service.plan import RegionPlan, plans, share_vectors

HEAD = '[service]\nname = "x"\nruntime_dir = "run"\n[[guest]]\nname = "g"\n'
BLK = '[[guest.device]]\ntype = "blk"\npath = "i"\nname = "b{}"\n{}\n'
RNG = '[[guest.device]]\ntype = "rng"\nname = "r{}"\n'


def planned(devices: str, guest: str = "") -> RegionPlan:
    (made,) = plans(parse_config(f"{HEAD}{guest}\n{devices}", Path("/nowhere")))
    return made


def test_links_follow_the_directory_page_by_page() -> None:
    made = planned(BLK.format(1, 'window = "5000K"') + RNG.format(1) + BLK.format(2, ""))
    assert made.layouts[0].offset == DIRECTORY_SIZE
    for layout, following in pairwise(made.layouts):
        assert following.offset == layout.end
    assert made.used == made.layouts[-1].end <= made.size
    for layout in made.layouts:
        assert layout.offset % PAGE_SIZE == layout.rw_size % PAGE_SIZE == 0


def test_every_layout_is_one_a_directory_takes() -> None:
    made = planned("".join(RNG.format(number) for number in range(30)))
    for number, layout in enumerate(made.layouts):
        encode_entry(EntryState.IN_USE, layout)
        check_layout(layout, DIRECTORY_SIZE, made.size)
        check_overlap(layout, made.layouts[:number])


def test_a_window_that_is_no_multiple_of_a_page_is_rounded_up() -> None:
    assert planned(BLK.format(1, 'window = "5000001"')).layouts[0].rw_size == 5001216


@pytest.mark.parametrize(
    ("vectors", "queues", "expected"),
    [
        (16, [1, 2, 4], [(0, 2), (2, 3), (5, 5)]),
        (10, [1, 2, 4], [(0, 2), (2, 3), (5, 5)]),
        (9, [1, 2, 4], [(0, 2), (2, 2), (4, 2)]),
        (5, [1, 2, 4], [(0, 1), (1, 1), (2, 1)]),
        (2, [1, 2, 4], [(0, 1), (1, 1), (0, 1)]),
        (1, [1, 2, 4], [(0, 1), (0, 1), (0, 1)]),
        (64, [64], [(0, 2)]),
    ],
)
def test_vectors(vectors: int, queues: list[int], expected: list[tuple[int, int]]) -> None:
    assert share_vectors(vectors, queues) == expected


@given(st.integers(1, 64), st.lists(st.integers(1, 65), min_size=1, max_size=127))
def test_vectors_stay_below_what_the_guest_has(vectors: int, queues: list[int]) -> None:
    """QEMU drops doorbells to vectors at or above the ringing guest's own count, without a word."""
    spans = share_vectors(vectors, queues)
    assert len(spans) == len(queues)
    assert all(count >= 1 and first + count <= vectors for first, count in spans)
    if len(queues) <= vectors:
        used = [vector for first, count in spans for vector in range(first, first + count)]
        assert len(used) == len(set(used)), "shared although there were enough"


def test_back_end_vectors_are_the_same_numbers() -> None:
    for layout in planned(BLK.format(1, "queues = 4") + RNG.format(1)).layouts:
        assert (layout.backend_vector, layout.backend_vectors) == (layout.frontend_vector, layout.frontend_vectors)


def test_each_switch_has_one_id_in_every_region() -> None:
    net = '[[guest.device]]\ntype = "net"\nname = "{}"\nvia = {{ switch = "{}" }}\n'
    text = HEAD + net.format("a", "lan") + RNG.format(1) + '[[guest]]\nname = "h"\n'
    text += net.format("a", "dmz") + net.format("b", "lan") + net.format("c", "dmz")
    first, second = plans(parse_config(text, Path("/nowhere")))
    assert [layout.backend_peer for layout in first.layouts] == [2, 0]
    assert [layout.backend_peer for layout in second.layouts] == [3, 2, 3]
    assert [link.backend for link in first.links] == ["switch lan", "back-end"]


@pytest.mark.parametrize(
    ("keys", "window", "least"),
    [
        ("", 16 << 20, 1032 << 10),
        ("queues = 4", 16 << 20, 4128 << 10),
        ("queues = 32", 64 << 20, 32992 << 10),
        ("queue_size = 8", 16 << 20, 260 << 10),
    ],
)
def test_windows_grow_with_the_queues(keys: str, window: int, least: int) -> None:
    (link,) = planned(BLK.format(1, keys), 'region = "128M"').links
    assert (link.layout.rw_size, link.least_window) == (window, least)
    assert link.reserved + PAGE_SIZE * sum(link.shape.queue_sizes) <= link.least_window


@pytest.mark.parametrize(
    ("queues", "window", "vectors"), [(1, 8 << 20, 3), (2, 8 << 20, 6), (4, 16 << 20, 10), (8, 32 << 20, 18)]
)
def test_windows_and_vectors_grow_with_the_queue_pairs(queues: int, window: int, vectors: int) -> None:
    text = f'[[guest.device]]\ntype = "net"\nvia = {{ tap = "t" }}\nqueues = {queues}\n'
    (link,) = planned(text, "vectors = 32").links
    assert (link.layout.rw_size, link.layout.frontend_vectors) == (window, vectors)
    device = registry.create("net", "net", window, {"via": {"tap": "t"}, "queues": queues})
    assert tuple(device.queue_sizes) == link.shape.queue_sizes
    assert registry.create("net", "net", link.least_window, link.device.keys).queue_sizes == link.shape.queue_sizes


def test_the_least_window_is_accepted_and_less_is_not() -> None:
    (link,) = planned(BLK.format(1, "")).links
    planned(BLK.format(1, f'window = "{link.least_window}"'))
    with pytest.raises(WindowTooSmall, match='guest "g", device "b1": window = "1028K" is too small'):
        planned(BLK.format(1, f'window = "{link.least_window - PAGE_SIZE}"'))


def test_too_small_a_region_says_the_sum_and_the_next_size() -> None:
    with pytest.raises(RegionTooSmall) as caught:
        planned(BLK.format(1, "") + RNG.format(1), 'region = "16M"')
    assert "directory 8K + b1 16388K + r1 260K = 16656K" in str(caught.value)
    assert 'region = "32M"' in str(caught.value)
    planned(BLK.format(1, "") + RNG.format(1), 'region = "32M"')


def test_a_region_may_be_filled_to_the_last_byte() -> None:
    made = planned(BLK.format(1, f'window = "{(16 << 20) - DIRECTORY_SIZE - PAGE_SIZE}"'), 'region = "16M"')
    assert made.used == made.size


def test_the_table_has_a_row_for_each_link_and_the_sums() -> None:
    made = planned(BLK.format(1, "") + RNG.format(1))
    assert plan_table(made).row_count == 1 + len(made.links) + 3
