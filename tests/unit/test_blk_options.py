# SPDX-License-Identifier: MIT
"""What a disk is made of besides an image: nothing, an image without the page cache; and how its threads are placed."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.blk_image import ImageUnusable
from ivshmem_virtio.devices.blk_options import BlkOptionInvalid
from ivshmem_virtio.devices.placement import PlacementInvalid
from ivshmem_virtio.service.config import parse_config
from ivshmem_virtio.service.config_blk import BlkConfig
from ivshmem_virtio.service.config_errors import ConfigError
from tests.devices.driver_rig import DriverRig

WINDOW = 1 << 20
IN, OUT, FLUSH, DISCARD = 0, 1, 4, 11
OK, IOERR = b"\0", b"\1"
HEAD = '[service]\nname = "x"\n[[guest]]\nname = "g"\n[[guest.device]]\ntype = "blk"\n'


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


def configured(text: str, folder: Path) -> BlkConfig:
    (device,) = parse_config(HEAD + text, folder).guests[0].devices
    assert isinstance(device, BlkConfig)
    return device


@pytest.mark.parametrize("compiled", [False, True])
def test_a_null_disk_answers_and_touches_nothing(compiled: bool) -> None:
    disk = Blk("null", backend="null", size=1 << 20, window=WINDOW)
    with DriverRig(disk, window=WINDOW, compiled=compiled) as rig:
        assert int.from_bytes(disk.config[:8], "little") == 2048
        assert rig.request(0, header(IN, 2047), [512, 1]).data == b"\xee" * 512 + OK
        assert rig.request(0, header(IN, 2048), [512, 1]).data == bytes(512) + IOERR
        assert rig.request(0, [header(OUT), bytes(512)], 1).data == OK
        assert rig.request(0, header(FLUSH), 1).data == OK
        assert rig.request(0, [header(DISCARD), struct.pack("<QII", 0, 1, 0)], 1).data == OK
        assert disk.identity == "null 1048576"
        assert not disk.check_capacity()
        assert not disk.resources


@pytest.mark.parametrize("compiled", [False, True])
def test_without_the_page_cache(tmp_path: Path, compiled: bool) -> None:
    """Aligned, not aligned and in pieces: what is read is what was written."""
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 16))
    disk = Blk("direct", path=image, direct=True, window=WINDOW)
    try:
        rig = DriverRig(disk, window=WINDOW, compiled=compiled)
    except ImageUnusable as error:
        pytest.skip(f"{error}; a file system with O_DIRECT for temporary files would run this")
    with rig:
        for sector, cut in ((0, [4096]), (8, [512] * 8), (16, [100, 3996]), (3, [512])):
            data = os.urandom(sum(cut))
            pieces = [data[sum(cut[:i]) : sum(cut[: i + 1])] for i in range(len(cut))]
            assert rig.request(0, [header(OUT, sector), *pieces], 1).data == OK
            assert rig.request(0, header(IN, sector), [*cut, 1]).data == data + OK
            assert image.read_bytes()[sector * 512 : sector * 512 + len(data)] == data


def test_an_image_that_is_direct_is_locked_once(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(4096))
    for _ in range(2):
        disk = Blk("direct", path=image, direct=True, window=WINDOW, lock_seconds=0)
        try:
            with DriverRig(disk, window=WINDOW):
                pass
        except ImageUnusable as error:
            pytest.skip(f"{error}; a file system with O_DIRECT for temporary files would run this")


def test_keys_of_a_configuration(tmp_path: Path) -> None:
    device = configured('backend = "null"\nsize = "2M"\nqueues = 2\nworkers = 2\npoll = 30\ncpus = [0]\n', tmp_path)
    disk = Blk("null", window=WINDOW, **device.keys)
    assert len(disk.queue_sizes) == 2
    with DriverRig(disk, window=WINDOW, compiled=True) as rig:
        assert rig.request(1, header(IN), [512, 1]).data[-1:] == OK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'must have path, or backend = "null"'),
        ('backend = "null"\npath = "i"', 'must not have path with backend = "null"'),
        ('backend = "null"\ndirect = true', 'must not have direct with backend = "null"'),
        ('path = "i"\nsize = "1M"', 'must not have size with backend = "image"'),
        ('backend = "null"\nsize = 513', "multiple of 512"),
        ('backend = "ram"', "backend"),
        ('path = "i"\nworkers = 2', "more workers (2) than queues (1)"),
        ('path = "i"\npoll = "sometimes"', '"adaptive", "never", "always"'),
        ('path = "i"\npoll = true', '"adaptive", "never", "always"'),
        ('path = "i"\npoll = -1', '"adaptive", "never", "always"'),
        ('path = "i"\ncpus = [1, 1]', "each processor once"),
        ('path = "i"\ncpus = [-1]', "cpus"),
    ],
)
def test_keys_that_make_no_disk(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match="device") as caught:
        configured(text, tmp_path)
    assert words in str(caught.value)


def test_options_of_the_class() -> None:
    with pytest.raises(BlkOptionInvalid, match="'ram' is none of image, null"):
        Blk("x", backend="ram", window=WINDOW)
    with pytest.raises(PlacementInvalid, match="'often' is none of adaptive, never, always"):
        Blk("x", backend="null", poll="often", window=WINDOW)
    disk = Blk("x", backend="null", cpus=[4000], window=WINDOW)
    with pytest.raises(PlacementInvalid, match=r"cpus = \[4000\].*are there"):
        DriverRig(disk, window=WINDOW)
