# SPDX-License-Identifier: MIT
"""The disk around its requests: configuration, features, opening and locking the image, cache mode, resizing."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.blk_config_space import Feature, segment_limits
from ivshmem_virtio.devices.blk_image import ImageLocked, ImageMissing, ImageUnusable
from ivshmem_virtio.devices.blk_options import BlkOptionInvalid
from ivshmem_virtio.devices.device import DeviceError
from tests.devices.driver_rig import DriverRig

WINDOW = 1 << 20
SIZE = 1 << 20
OUT, FLUSH = 1, 4


def open_and_close(path: Path, *, read_only: bool = False, lock_seconds: float = 0) -> None:
    disk = Blk("root", path=path, window=WINDOW, read_only=read_only, lock_seconds=lock_seconds)
    with DriverRig(disk, window=WINDOW):
        pass


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def config(disk: Blk) -> dict[str, int]:
    """struct virtio_blk_config, field by field, by the offsets of virtio 1.4, 5.2.4."""
    fields = {
        "capacity": ("<Q", 0),
        "size_max": ("<I", 8),
        "seg_max": ("<I", 12),
        "geometry": ("<I", 16),
        "blk_size": ("<I", 20),
        "physical_block_exp": ("<B", 24),
        "alignment_offset": ("<B", 25),
        "min_io_size": ("<H", 26),
        "opt_io_size": ("<I", 28),
        "writeback": ("<B", 32),
        "unused0": ("<B", 33),
        "num_queues": ("<H", 34),
        "max_discard_sectors": ("<I", 36),
        "max_discard_seg": ("<I", 40),
        "discard_sector_alignment": ("<I", 44),
        "max_write_zeroes_sectors": ("<I", 48),
        "max_write_zeroes_seg": ("<I", 52),
        "write_zeroes_may_unmap": ("<B", 56),
    }
    assert len(disk.config) == 60
    return {name: struct.unpack_from(form, disk.config, offset)[0] for name, (form, offset) in fields.items()}


def test_configuration_of_a_file(image: Path) -> None:
    disk = Blk("root", path=image, queues=3, window=WINDOW)
    with DriverRig(disk, window=WINDOW):
        found = config(disk)
    assert found["capacity"] == SIZE // 512
    assert found["blk_size"] == 512
    assert 512 << found["physical_block_exp"] == found["min_io_size"] * 512 == min(4096, os.stat(image).st_blksize)
    assert found["writeback"] == 1
    assert found["num_queues"] == 3
    assert found["unused0"] == found["geometry"] == found["alignment_offset"] == 0
    assert found["max_discard_sectors"] > 0
    assert found["max_discard_seg"] > 0
    assert found["max_write_zeroes_sectors"] > 0
    assert found["max_write_zeroes_seg"] > 0
    assert found["write_zeroes_may_unmap"] == 1


@pytest.mark.parametrize(
    ("read_only", "queues", "extra"),
    [
        (False, 1, Feature.CONFIG_WCE | Feature.DISCARD | Feature.WRITE_ZEROES),
        (False, 4, Feature.CONFIG_WCE | Feature.DISCARD | Feature.WRITE_ZEROES | Feature.MQ),
        (True, 1, Feature.RO),
        (True, 2, Feature.RO | Feature.MQ),
    ],
)
def test_features(image: Path, read_only: bool, queues: int, extra: int) -> None:
    disk = Blk("root", path=image, read_only=read_only, queues=queues, window=WINDOW)
    always = Feature.SIZE_MAX | Feature.SEG_MAX | Feature.BLK_SIZE | Feature.FLUSH | Feature.TOPOLOGY
    assert disk.features == always | extra
    assert list(disk.queue_sizes) == [128] * queues


@pytest.mark.parametrize("window", [64 << 10, 100_000, 1 << 20, 16 << 20, 1 << 30])
@pytest.mark.parametrize("queue_size", [4, 16, 128, 1024])
def test_one_request_takes_at_most_a_quarter_of_the_window(window: int, queue_size: int) -> None:
    segments, size = segment_limits(window, queue_size)
    assert size % 4096 == 0
    assert size >= 4096
    assert 1 <= segments <= queue_size - 2
    assert segments * size + 16 + 1 + 16 * (segments + 2) <= window // 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 32 << 10}, "32768"),
        ({"queues": 0}, "0 queues"),
        ({"serial": "x" * 21}, "20"),
        ({"serial": "ä"}, "ASCII"),
    ],
)
def test_options_that_make_no_disk(image: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BlkOptionInvalid, match=words):
        Blk("root", path=image, **({"window": WINDOW} | options))


def one_line(error: pytest.ExceptionInfo[DeviceError], path: Path) -> str:
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing) as error:
        open_and_close(tmp_path / "nothing.img")
    assert "truncate -s" in one_line(error, tmp_path / "nothing.img")


@pytest.mark.skipif(shutil.which("setpriv") is None and os.geteuid() == 0, reason="needs setpriv to drop privileges")
@pytest.mark.parametrize("read_only", [False, True])
def test_forbidden_image(image: Path, read_only: bool) -> None:
    image.chmod(0)
    program = (
        "from ivshmem_virtio.devices.blk_image import Image, ImageForbidden\n"
        "try:\n"
        f"    Image({str(image)!r}, read_only={read_only}, lock_seconds=0)\n"
        "except ImageForbidden as error:\n"
        "    print(error)\n"
    )
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    found = subprocess.run([*unprivileged, sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"image {image}: no permission to read" in found.stdout
    assert found.stdout.count("\n") == 1


def test_directory_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageUnusable, match="is a directory"):
        open_and_close(tmp_path)
    with pytest.raises(ImageUnusable, match="neither a regular file nor a block device"):
        open_and_close(tmp_path, read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_fifo_and_character_device_are_no_image(tmp_path: Path, read_only: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(ImageUnusable, match="neither a regular file nor a block device") as error:
            open_and_close(path, read_only=read_only)
        one_line(error, path)


@pytest.mark.parametrize(
    ("length", "remedy"), [(0, "truncate -s 1G"), (1, "truncate -s 512"), (1025, "truncate -s 1536")]
)
def test_length_that_is_no_disk(image: Path, length: int, remedy: str) -> None:
    os.truncate(image, length)
    with pytest.raises(ImageUnusable) as error:
        open_and_close(image)
    assert remedy in one_line(error, image)


@pytest.mark.parametrize(
    ("held", "wanted_read_only", "free"),
    [
        (fcntl.LOCK_EX, False, False),
        (fcntl.LOCK_EX, True, False),
        (fcntl.LOCK_SH, False, False),
        (fcntl.LOCK_SH, True, True),
    ],
)
def test_locked_image(image: Path, held: int, wanted_read_only: bool, free: bool) -> None:
    with image.open("rb") as other:
        fcntl.flock(other, held)
        if free:
            open_and_close(image, read_only=wanted_read_only)
        else:
            with pytest.raises(ImageLocked, match="read_only = true") as error:
                open_and_close(image, read_only=wanted_read_only)
            assert "after 0 s" in one_line(error, image)
    open_and_close(image, read_only=wanted_read_only)


def test_the_lock_is_waited_for(image: Path) -> None:
    """A predecessor's I/O may outlive it; its lock goes when the I/O is over."""
    holder = subprocess.Popen(["flock", str(image), "-c", "echo held; sleep 0.5"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    open_and_close(image, lock_seconds=30)
    assert holder.wait() == 0
    holder.stdout.close()


def test_the_lock_is_held_while_open_and_gone_after(image: Path) -> None:
    with image.open("rb") as other:
        with DriverRig(Blk("root", path=image, window=WINDOW), window=WINDOW), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("accepted", "writeback", "stable"),
    [
        (Feature.CONFIG_WCE | Feature.FLUSH, None, False),
        (Feature.CONFIG_WCE | Feature.FLUSH, 0, True),
        (Feature.CONFIG_WCE | Feature.FLUSH, 1, False),
        (Feature.CONFIG_WCE, None, True),
        (Feature.FLUSH, None, False),
        (0, None, True),
    ],
)
def test_when_a_write_is_stable(
    image: Path, accepted: int, writeback: int | None, stable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Blk("root", path=image, window=WINDOW)
    with DriverRig(disk, window=WINDOW, features=accepted) as rig:
        if writeback is not None:
            disk.write_config(32, bytes([writeback]))
            assert config(disk)["writeback"] == writeback
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", synced.append)
        assert rig.request(0, [struct.pack("<IIQ", OUT, 0, 0), bytes(512)], 1).data == b"\0"
        assert bool(synced) == stable
        if accepted & Feature.CONFIG_WCE and not accepted & Feature.FLUSH:
            assert config(disk)["writeback"] == 0
            assert rig.driver.config_changes == 1


def test_a_driver_without_flush_leaves_no_slow_disk_behind(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Blk("root", path=image, window=WINDOW)
    with DriverRig(disk, window=WINDOW, features=0) as rig:
        disk.deactivate()
        rig.driver.features |= Feature.CONFIG_WCE | Feature.FLUSH
        disk.activate(rig.driver)
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", synced.append)
        rig.request(0, [struct.pack("<IIQ", OUT, 0, 0), bytes(512)], 1)
        assert synced == []
        assert config(disk)["writeback"] == 1


def test_only_writeback_is_writable(image: Path) -> None:
    disk = Blk("root", path=image, window=WINDOW)
    assert disk.writable_config == {32: 1}
    assert Blk("root", path=image, read_only=True, window=WINDOW).writable_config == {}
    with DriverRig(disk, window=WINDOW):
        before = disk.config
        disk.write_config(0, b"\xff")
        assert disk.config == before


@pytest.mark.parametrize("compiled", [False, True])
def test_resized_image(image: Path, compiled: bool) -> None:
    disk = Blk("root", path=image, window=WINDOW)
    with DriverRig(disk, window=WINDOW, compiled=compiled) as rig:
        assert not disk.check_capacity()
        os.truncate(image, 2 * SIZE)
        assert disk.check_capacity()
        assert rig.driver.config_changes == 1
        assert config(disk)["capacity"] == 2 * SIZE // 512
        data = os.urandom(512)
        assert rig.request(0, [struct.pack("<IIQ", OUT, 0, 2 * SIZE // 512 - 1), data], 1).data == b"\0"
        os.truncate(image, 2 * SIZE + 1)
        assert not disk.check_capacity()


@pytest.mark.parametrize("compiled", [False, True])
def test_every_queue_serves(image: Path, compiled: bool) -> None:
    disk = Blk("root", path=image, queues=4, queue_size=16, window=WINDOW)
    with DriverRig(disk, window=WINDOW, compiled=compiled) as rig:
        for queue in range(4):
            data = bytes([queue]) * 512
            assert rig.request(queue, [struct.pack("<IIQ", OUT, 0, queue), data], 1).data == b"\0"
    assert image.read_bytes()[:2048] == b"".join(bytes([q]) * 512 for q in range(4))


def test_identity_follows_the_file_and_its_length(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(bytes(SIZE))
    disk, twin, different = (Blk("root", path=p, read_only=True, window=WINDOW) for p in (image, image, other))
    with DriverRig(disk, window=WINDOW), DriverRig(twin, window=WINDOW), DriverRig(different, window=WINDOW):
        assert disk.image.identity == twin.image.identity != different.image.identity


@pytest.fixture
def loop_device(image: Path) -> Iterator[Path]:
    """A block device of the host, made of the image."""
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        pytest.skip("a loop device needs root and losetup")
    made = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop device to be had here: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", str(device)], check=True)


def test_block_device(loop_device: Path, image: Path) -> None:
    disk = Blk("root", path=loop_device, window=WINDOW)
    data = os.urandom(4096)
    with DriverRig(disk, window=WINDOW) as rig:
        found = config(disk)
        assert found["capacity"] == SIZE // 512
        assert found["blk_size"] == 512
        assert disk.image.is_block_device
        assert rig.request(0, [struct.pack("<IIQ", OUT, 0, 8), data], 1).data == b"\0"
        assert rig.request(0, [struct.pack("<IIQ", OUT, 0, 16), data], 1).data == b"\0"
        assert rig.request(0, struct.pack("<IIQ", FLUSH, 0, 0), 1).data == b"\0"
        for kind, sector in ((11, 32), (13, 8)):
            parts = [struct.pack("<IIQ", kind, 0, 0), struct.pack("<QII", sector, 8, 0)]
            assert rig.request(0, parts, 1).data == b"\0"
        assert rig.request(0, struct.pack("<IIQ", 0, 0, 8), [8192, 1]).data == bytes(4096) + data + b"\0"
        # Whoever claims the device exclusively (mount does) keeps a second writer out.
        with pytest.raises(ImageLocked, match="in use"):
            open_and_close(loop_device)
        assert disk.image.identity.startswith("block ")
    assert image.read_bytes()[4096:12288] == bytes(4096) + data
