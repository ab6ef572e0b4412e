# SPDX-License-Identifier: MIT
"""A driver that knows nothing but revision 1 works with our device side, in all its interrupt modes."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.rng import Rng
from tests.peers.plain_region import BACKEND, FRONTEND, PlainRegion, soon
from tests.peers.revision1_driver import EVENT_IDX, INDIRECT, Revision1Driver
from tests.peers.served_link import served

WINDOW = 1 << 20
MODES = {"one": 1, "two": 2, "full": 3}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def region(mode: str) -> Iterator[PlainRegion]:
    made = PlainRegion(WINDOW, backend_vectors=MODES[mode], frontend_vectors=MODES[mode])
    yield made
    made.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(64 * 512))
    return path


def in_operation(region: PlainRegion, mode: str, features: int = 0, queues: Sequence[int] = (0,)) -> Revision1Driver:
    driver = Revision1Driver(region, mode, features)
    driver.probe()
    for queue in queues:
        driver.setup_queue(queue)
    driver.driver_ok()
    return driver


@pytest.mark.parametrize("features", [0, EVENT_IDX, INDIRECT, EVENT_IDX | INDIRECT])
def test_rng(region: PlainRegion, mode: str, features: int) -> None:
    with served(region, Rng("rng", window=WINDOW)):
        driver = in_operation(region, mode, features)
        answers = [driver.request(0, [], [64]) for _ in range(70)]
        assert len(set(answers)) == 70
        driver.remove()


@pytest.mark.parametrize("features", [0, EVENT_IDX | INDIRECT])
def test_disk_with_two_queues(region: PlainRegion, mode: str, features: int, image: Path) -> None:
    content = image.read_bytes()
    with served(region, Blk("disk", path=image, queues=2, queue_size=16, window=WINDOW)):
        driver = in_operation(region, mode, features, (0, 1))
        assert region.load(0x4C, 8) == 64, "capacity stands where a driver of revision 1 looks for it"
        for queue in (0, 1):
            for sector in (0, 5, 63):
                answer = driver.request(queue, [struct.pack("<IIQ", 0, 0, sector)], [512, 1])
                assert answer == content[sector * 512 :][:512] + b"\0"
        new = os.urandom(512)
        assert driver.request(1, [struct.pack("<IIQ", 1, 0, 9), new], [1]) == b"\0"
        assert driver.request(0, [struct.pack("<IIQ", 4, 0, 0)], [1]) == b"\0"
        assert driver.request(0, [struct.pack("<IIQ", 0, 0, 9)], [512, 1]) == new + b"\0"
        driver.remove()
    assert image.read_bytes()[9 * 512 :][:512] == new


def test_queue_deleted_with_a_32_bit_write_and_set_up_again(region: PlainRegion, mode: str) -> None:
    with served(region, Rng("rng", window=WINDOW)) as device:
        driver = in_operation(region, mode)
        assert driver.request(0, [], [32]) != bytes(32)
        driver.delete_queue(0)
        driver.idle()
        assert device.queues == [None]
        driver.setup_queue(0)
        assert driver.request(0, [], [32]) != bytes(32)
        driver.remove()


def test_driver_reloaded_without_a_word(region: PlainRegion, mode: str) -> None:
    """As after a reset of the guest: the next driver only writes status 0."""
    with served(region, Rng("rng", window=WINDOW)):
        for _ in range(3):
            driver = in_operation(region, mode)
            assert driver.request(0, [], [32]) != bytes(32)
        driver.remove()


def test_quick_reload_keeps_its_first_transaction(region: PlainRegion, mode: str) -> None:
    with served(region, Rng("rng", window=WINDOW)):
        for _ in range(20):
            driver = in_operation(region, mode)
            driver.remove()


def test_configuration_change_rings_vector_0(region: PlainRegion, mode: str) -> None:
    with served(region, Rng("rng", window=WINDOW)) as device:
        driver = in_operation(region, mode)
        driver.request(0, [], [8])
        region.wait(FRONTEND, 0)
        assert region.load(0x40, 1) == 0
        device._loop.call_soon_threadsafe(device.config_changed)
        assert soon(lambda: 0 in region.wait(FRONTEND, 0.1))
        assert region.load(0x40, 1) == 1


def test_state_0_is_what_the_driver_sees_when_the_device_goes(region: PlainRegion, mode: str) -> None:
    with served(region, Rng("rng", window=WINDOW)):
        driver = Revision1Driver(region, mode)
        driver.probe()
    assert region.state(BACKEND) == 0
    assert 0 in region.wait(FRONTEND, 5)
    driver.write(0x44, 4, 0)
    assert driver.device_gone
