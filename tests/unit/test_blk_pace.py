# SPDX-License-Identifier: MIT
"""A disk that holds requests: rate limits, random delays, and what becomes of the held in a reset."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.blk_options import BlkOptionInvalid
from ivshmem_virtio.devices.blk_pace import BURST_SECONDS, Pace
from tests.devices.driver_rig import DriverRig, Request

WINDOW = 1 << 20
IN, OUT = 0, 1
LONG_MS = 60_000


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


def rig_for(image: Path, **options: Any) -> DriverRig:
    return DriverRig(Blk("root", path=image, window=WINDOW, **options), window=WINDOW)


def post_write(rig: DriverRig, sector: int, data: bytes, queue: int = 0) -> Request:
    return rig.post(queue, [struct.pack("<IIQ", OUT, 0, sector), data], 1)


def times(pace: Pace, lengths: list[int]) -> list[float]:
    return [round(pace.due(100.0, length) - 100.0, 3) for length in lengths]


def test_the_first_goes_at_once_and_is_paid_for_by_those_after_it() -> None:
    pace = Pace(bytes_per_second=1000)
    first, second, third = times(pace, [5000, 10, 0])
    assert first == 0
    assert second == pytest.approx(5 - BURST_SECONDS)
    assert third - second == pytest.approx(0.01)
    assert pace.due(200.0, 1) <= 200.0


def test_the_stricter_of_two_limits_counts() -> None:
    pace = Pace(bytes_per_second=1_000_000, requests_per_second=2)
    assert times(pace, [512] * 4)[1:] == pytest.approx([0.45, 0.95, 1.45])


def test_the_same_seed_gives_the_same_delays() -> None:
    one, two, other = (times(Pace(delay=1.0, seed=seed), [512] * 20) for seed in (7, 7, 8))
    assert one == two != other
    assert all(0 <= due <= 1 for due in one)
    assert one != sorted(one)


def test_without_options_nothing_waits() -> None:
    assert Pace().unlimited
    assert not Pace(delay=0.001).unlimited


@pytest.mark.parametrize("options", [{"bytes_per_second": 0}, {"requests_per_second": -1}, {"delay_ms": -1}])
def test_options_that_make_no_disk(image: Path, options: dict[str, Any]) -> None:
    (key,) = options
    with pytest.raises(BlkOptionInvalid, match=f"{key} = {options[key]} "):
        Blk("root", path=image, window=WINDOW, **options)


def test_a_delay_brings_requests_back_out_of_order(image: Path) -> None:
    with rig_for(image, delay_ms=50, queues=2) as rig:
        posted = [post_write(rig, 2 * i + queue, os.urandom(512), queue) for i in range(20) for queue in (0, 1)]
        rig.kick(0)
        rig.kick(1)
        back = rig.wait_for(0, 20)
        assert sorted(back, key=posted.index) != back
        rig.wait_for(1, 20 - len(rig.collect(1)))
        assert all(request.data == b"\0" for request in posted)


def test_a_limit_holds_and_lets_through(image: Path) -> None:
    with rig_for(image, requests_per_second=40) as rig:
        began = time.monotonic()
        for sector in range(13):
            post_write(rig, sector, b"x" * 512)
        rig.kick(0)
        at_once = len(rig.collect(0))
        assert 1 <= at_once <= 4 + 40 * (time.monotonic() - began)
        rig.wait_for(0, 13 - at_once)
        assert time.monotonic() - began > 0.2
    assert image.read_bytes()[: 13 * 512] == b"x" * 13 * 512


def test_a_reset_drops_what_is_held(image: Path) -> None:
    """No write lands once the reset was acknowledged, whatever the next driver does."""
    with rig_for(image, delay_ms=30) as rig:
        for sector in range(20):
            post_write(rig, sector, b"x" * 512)
        rig.kick(0)
        done = image.read_bytes()
        rig.device.deactivate()
        rig.run_for(0.1)
        assert image.read_bytes() == done
        rig.renew_all()
        rig.run_for(0.1)
        assert image.read_bytes() == done
        post_write(rig, 100, b"y" * 512)
        rig.kick(0)
        rig.wait_for(0)
        assert image.read_bytes() == done[: 100 * 512] + b"y" * 512 + done[101 * 512 :]


def test_the_reset_of_one_queue_leaves_the_held_of_the_other(image: Path) -> None:
    with rig_for(image, delay_ms=300, delay_seed=3, queues=2) as rig:
        for queue in (0, 1):
            post_write(rig, queue, bytes([65 + queue]) * 512, queue)
            rig.kick(queue)
        rig.renew_queue(0)
        assert rig.wait_for(1)[0].data == b"\0"
        rig.run_for(0.4)
    assert image.read_bytes()[:1024] == bytes(512) + b"B" * 512


def test_what_is_held_when_the_disk_is_closed_was_never_begun(image: Path) -> None:
    with rig_for(image, delay_ms=LONG_MS) as rig:
        for sector in range(8):
            post_write(rig, sector, b"x" * 512)
        rig.kick(0)
    assert image.read_bytes() == bytes(1 << 20)


def test_limited_disks_still_answer_what_is_wrong(image: Path) -> None:
    with rig_for(image, requests_per_second=1000) as rig:
        beyond = post_write(rig, 1 << 40, bytes(512))
        short = rig.post(0, b"x", 1)
        rig.kick(0)
        rig.run_until(lambda: len(rig.collect(0)) == 0 and beyond.done and short.done)
        assert beyond.data == short.data == b"\x01"


def test_every_read_returns_its_own_data(image: Path) -> None:
    content = random.Random(5).randbytes(1 << 20)
    image.write_bytes(content)
    with rig_for(image, delay_ms=20, bytes_per_second=10_000_000) as rig:
        reads = [(sector, rig.post(0, struct.pack("<IIQ", IN, 0, sector), [512, 1])) for sector in range(40)]
        rig.kick(0)
        rig.wait_for(0, 40)
        for sector, read in reads:
            assert read.data == content[sector * 512 : sector * 512 + 512] + b"\0"
