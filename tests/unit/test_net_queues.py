# SPDX-License-Identifier: MIT
"""A network device with many queue pairs: what it offers and keeps, whatever its tap does."""

from __future__ import annotations

import struct

import pytest

from ivshmem_virtio.devices.net import BadNetSettings, Net, least_window, with_dependencies
from ivshmem_virtio.devices.net_header import Feature
from ivshmem_virtio.devices.net_queues import control_queue
from ivshmem_virtio.devices.net_via import ViaError

WINDOW = 32 << 20
TAP = {"tap": "tap0"}


@pytest.mark.parametrize("pairs", [2, 4, 8])
def test_many_pairs_are_offered_with_a_control_queue_behind_them(pairs: int) -> None:
    device = Net("eth0", via=TAP, window=WINDOW, queues=pairs)
    assert device.features & (Feature.CTRL_VQ | Feature.MQ) == Feature.CTRL_VQ | Feature.MQ
    assert list(device.queue_sizes) == [256] * (2 * pairs) + [64]
    assert struct.unpack_from("<H", device.config, 8) == (pairs,)
    assert list(device.seldom_rung) == [2 * pairs]


def test_one_pair_has_no_control_queue() -> None:
    device = Net("eth0", via=TAP, window=WINDOW)
    assert not device.features & (Feature.CTRL_VQ | Feature.MQ)
    assert list(device.queue_sizes) == [256, 256]
    assert list(device.seldom_rung) == []


def test_where_the_control_queue_is() -> None:
    assert control_queue(int(Feature.CTRL_VQ | Feature.MQ), 4) == 8
    assert control_queue(int(Feature.CTRL_VQ), 4) == 2
    assert control_queue(int(Feature.MQ), 4) is None
    assert with_dependencies(int(Feature.MQ)) == 0


@pytest.mark.parametrize(
    ("queues", "workers", "message"),
    [
        (0, 1, "queues = 0"),
        (9, 1, "queues = 9"),
        (1, 2, "workers = 2"),
        (4, 5, "workers = 5"),
        (4, 0, "workers = 0"),
    ],
)
def test_bad_numbers_are_named(queues: int, workers: int, message: str) -> None:
    with pytest.raises(BadNetSettings, match=message):
        Net("eth0", via=TAP, window=WINDOW, queues=queues, workers=workers)


@pytest.mark.parametrize("via", [{"stream": "/nowhere"}, {"switch": "lan"}])
def test_only_a_tap_has_many(via: dict[str, str]) -> None:
    with pytest.raises(ViaError, match="queues = 2 needs a tap"):
        Net("eth0", via=via, window=WINDOW, queues=2)


def test_a_window_holds_the_buffers_of_all_pairs() -> None:
    assert Net("eth0", via=TAP, window=least_window(256, 4), queues=4).queue_size == 256
    assert Net("eth0", via=TAP, window=least_window(256, 4) - 1, queues=4).queue_size == 128
    with pytest.raises(BadNetSettings, match="too small for 4 queue pairs"):
        Net("eth0", via=TAP, window=least_window(32, 4) - 1, queues=4)


def test_what_was_restored_is_kept_until_a_driver_is_there() -> None:
    device = Net("eth0", via=TAP, window=WINDOW, queues=4)
    assert device.kept == 0
    device.restore(3)
    assert device.kept == 3
