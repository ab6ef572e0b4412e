# SPDX-License-Identifier: MIT
"""The device that stands for one whose host resources are gone: what it answers, and what it leaves alone."""

from __future__ import annotations

import struct
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from ivshmem_virtio.devices.blk import KEPT_WRITETHROUGH, Blk
from ivshmem_virtio.devices.blk_config_space import WRITEBACK_OFFSET
from ivshmem_virtio.devices.console import EMERG_WRITE_OFFSET, Console
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.devices.failing import FailingDevice
from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_header import Feature
from ivshmem_virtio.transport.kept_link import KeptLink
from tests.devices.driver_rig import DriverRig
from tests.unit.split_rig import memory_window

WINDOW = 1 << 20
NET, RNG, UNKNOWN = 1, 4, 42
RigOf = Callable[[FailingDevice], DriverRig]
IOERR = b"\1"


class OpenedFailingDevice(FailingDevice):
    """With what a rig expects of every device."""

    def __init__(self, name: str, device_id: int, kept: KeptLink, window: int) -> None:
        super().__init__(name, device_id, kept, window)
        self.record = kept

    def open(self, loop: AbstractEventLoop) -> None:
        """It needs nothing."""

    def close(self) -> None:
        """It has nothing."""


def failing(device_id: int, queues: Sequence[int], offered: int = 0, config: bytes = b"") -> OpenedFailingDevice:
    kept = KeptLink(memory_window(0x20000), 0x40, queues, len(config))
    kept.lay_out()
    kept.change_device(bytes(32), offered)
    kept.keep_config(config)
    found = KeptLink.found(kept.window, 0x40)
    return OpenedFailingDevice("lost", device_id, found, WINDOW)


def failing_in_place_of(device: Device) -> OpenedFailingDevice:
    return failing(device.device_id, device.queue_sizes, device.features, device.config)


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def rig_of(request: pytest.FixtureRequest) -> RigOf:
    """A driver of a failing device, with either layout of the rings it left."""
    packed: bool = request.param
    return lambda device: DriverRig(cast(Device, device), window=WINDOW, packed=packed)


@pytest.fixture
def disk(tmp_path: Path) -> Blk:
    return Blk("disk", path=tmp_path / "none.img", window=WINDOW, queues=2, queue_size=16)


@pytest.mark.parametrize("kind", [0, 1, 4, 8, 11, 13, 99])
def test_every_block_request_fails(rig_of: RigOf, disk: Blk, kind: int) -> None:
    device = failing_in_place_of(disk)
    with rig_of(device) as rig:
        reply = rig.request(1, [struct.pack("<IIQ", kind, 0, 0), b"x" * 512], [512, 1])
        assert reply.data == bytes(512) + IOERR
        assert reply.written == 513
    assert device.record.lost == (1, 0, 0)


@pytest.mark.parametrize(("features", "control"), [(int(Feature.CTRL_VQ | Feature.MQ), 8), (int(Feature.CTRL_VQ), 2)])
def test_network_control_requests_fail(features: int, control: int) -> None:
    net = Net("eth0", via={"tap": "tap0"}, window=8 << 20, queues=4, queue_size=32)
    with DriverRig(cast(Device, failing_in_place_of(net)), window=WINDOW, features=features) as rig:
        assert rig.request(control, struct.pack("<BBH", 4, 0, 2), 1).data == b"\1"
        rig.post(0, b"", 2048)
        rig.kick(0)
        assert rig.collect(0) == []


def test_how_many_queue_pairs_are_in_use_is_kept_for_the_driver_that_said_so(rig_of: RigOf) -> None:
    net = Net("eth0", via={"tap": "tap0"}, window=8 << 20, queues=4, queue_size=32)
    device = failing_in_place_of(net)
    device.restore(3)
    assert device.kept == 3
    with rig_of(device):
        assert device.kept == 0, "a driver that is new has one pair in use"


@pytest.mark.parametrize("readable", [b"", b"short"])
def test_block_requests_that_are_none(rig_of: RigOf, disk: Blk, readable: bytes) -> None:
    with rig_of(failing_in_place_of(disk)) as rig:
        assert rig.request(0, readable, 1).data == IOERR
        assert rig.request(0, b"no room for an answer").written == 0


def test_the_disk_looks_as_before_and_takes_a_cache_mode(disk: Blk) -> None:
    device = failing_in_place_of(disk)
    assert (device.features, list(device.queue_sizes), device.config) == (disk.features, [16, 16], disk.config)
    assert device.writable_config == disk.writable_config
    device.write_config(WRITEBACK_OFFSET, b"\0")
    assert device.kept == KEPT_WRITETHROUGH
    assert device.config[WRITEBACK_OFFSET] == 0
    device.write_config(WRITEBACK_OFFSET, b"\1")
    assert device.kept == 0
    device.restore(KEPT_WRITETHROUGH)
    assert device.kept == KEPT_WRITETHROUGH


def test_a_disk_that_may_not_be_written(tmp_path: Path) -> None:
    device = failing_in_place_of(Blk("disk", path=tmp_path / "none.img", window=WINDOW, read_only=True))
    assert device.writable_config == {}


def test_console_output_is_dropped_and_counted_and_input_waits(rig_of: RigOf) -> None:
    device = failing_in_place_of(Console("serial", via="null", window=WINDOW))
    with rig_of(device) as rig:
        waiting = rig.post(0, b"", 64)
        rig.kick(0)
        for text in (b"one\n", b"three\n"):
            assert rig.request(1, text).written == 0
        rig.collect(0)
        assert not waiting.done
    device.write_config(EMERG_WRITE_OFFSET, b"x\0\0\0")
    assert device.record.lost == (0, 3, 11)


def test_only_a_console_with_ports_begins_anew(disk: Blk) -> None:
    assert failing_in_place_of(disk).resumable
    assert failing_in_place_of(Console("serial", via="null", window=WINDOW)).resumable
    assert not failing_in_place_of(Console("serial", via="null", ports=[("p", "null")], window=WINDOW)).resumable


@pytest.mark.parametrize(("device_id", "queue"), [(NET, 0), (RNG, 0), (UNKNOWN, 1)])
def test_what_is_to_be_filled_waits(rig_of: RigOf, device_id: int, queue: int) -> None:
    """Entropy, received frames; and whatever a device of somebody else would have answered."""
    with rig_of(failing(device_id, [16, 16])) as rig:
        waiting = rig.post(queue, b"question" if device_id == UNKNOWN else b"", 64)
        rig.kick(queue)
        rig.collect(queue)
        assert not waiting.done


@pytest.mark.parametrize("device_id", [NET, UNKNOWN])
def test_frames_and_other_output_are_dropped(rig_of: RigOf, device_id: int) -> None:
    device = failing(device_id, [16, 16])
    with rig_of(device) as rig:
        rig.request(1, bytes(12) + b"frame" * 20)
    assert device.record.lost == (0, 1, 112)
