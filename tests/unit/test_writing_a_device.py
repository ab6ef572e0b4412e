# SPDX-License-Identifier: MIT
"""The device of docs/writing-a-device.md is what that page prints: complete, short, configurable, and working."""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ivshmem_virtio.devices import registry
from ivshmem_virtio.devices.device import Device, DeviceError
from ivshmem_virtio.service.config import parse_config
from tests.devices.driver_rig import DriverRig

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-device.md"
WINDOW = 1 << 20
EVENTS, STATUS = 0, 1
PRESS = [struct.pack("<HHI", *event) for event in ((1, 116, 1), (0, 0, 0), (1, 116, 0), (0, 0, 0))]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return str(found)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """power_button, importable as the page says."""
    module = ModuleType("power_button")
    exec(compile(block("python"), str(PAGE), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "power_button", module)
    return module


@pytest.fixture
def button(module: ModuleType, tmp_path: Path) -> Device:
    return registry.create("power_button:PowerButton", "power", WINDOW, {"path": str(tmp_path / "button")})


@pytest.fixture
def rig(button: Device) -> Iterator[DriverRig]:
    with DriverRig(button, window=WINDOW) as rig:
        yield rig


def test_device_is_short() -> None:
    code = [line for line in block("python").splitlines() if line.strip()]
    assert len(code) < 60


def test_configuration_of_the_page_is_accepted(module: ModuleType, tmp_path: Path) -> None:
    config = parse_config(block("toml"), tmp_path)
    (device,) = config.guests[0].devices
    assert device.shape.device_id == 18
    assert device.keys == {"path": "/run/buttons/web"}


def test_driver_learns_what_kind_of_input_it_is(rig: DriverRig) -> None:
    def ask(select: int, subsel: int) -> bytes:
        rig.device.write_config(0, bytes([select]))
        rig.device.write_config(1, bytes([subsel]))
        assert len(rig.device.config) == 136
        assert rig.device.config[:2] == bytes([select, subsel])
        return rig.device.config[8 : 8 + rig.device.config[2]]

    assert ask(0x01, 0) == b"power"
    bits = ask(0x11, 1)
    assert [i for i in range(8 * len(bits)) if bits[i // 8] & 1 << i % 8] == [116]
    assert ask(0x11, 2) == b"", "no mouse"
    assert ask(0x10, 0) == b""
    assert dict(rig.device.writable_config) == {0: 1, 1: 1}


def test_press_reaches_the_driver(rig: DriverRig, tmp_path: Path) -> None:
    for _ in range(2):
        requests = [rig.post(EVENTS, writable=8) for _ in range(4)]
        rig.kick(EVENTS)
        (tmp_path / "button").write_text("\n")
        assert rig.wait_for(EVENTS, 4) == requests
        assert [request.data for request in requests] == PRESS
        assert [request.written for request in requests] == [8] * 4
        assert rig.rings[EVENTS].notifications > 0


def test_press_without_room_is_missed_as_a_whole(rig: DriverRig, tmp_path: Path) -> None:
    for _ in range(3):
        rig.post(EVENTS, writable=8)
    (tmp_path / "button").write_text("\n")
    rig.run_for(0.05)
    assert rig.collect(EVENTS) == []
    for _ in range(3):
        rig.post(EVENTS, writable=8)
    (tmp_path / "button").write_text("\n")
    assert [request.data for request in rig.wait_for(EVENTS, 4)] == PRESS


def test_press_without_a_driver_is_nothing(rig: DriverRig, tmp_path: Path) -> None:
    rig.device.deactivate()
    (tmp_path / "button").write_text("\n")
    rig.run_for(0.05)


def test_status_comes_back(rig: DriverRig) -> None:
    assert rig.request(STATUS, bytes(8)).written == 0


def test_path_that_cannot_be(module: Any, tmp_path: Path) -> None:
    (tmp_path / "button").write_text("in the way")
    with pytest.raises(DeviceError, match="File exists"):
        DriverRig(module.PowerButton("power", path=str(tmp_path / "button"), window=WINDOW))


def test_path_left_by_a_killed_process_is_used_again(button: Device, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "button")
    with DriverRig(button, window=WINDOW) as rig:
        for _ in range(4):
            rig.post(EVENTS, writable=8)
        (tmp_path / "button").write_text("\n")
        assert [request.data for request in rig.wait_for(EVENTS, 4)] == PRESS


def test_host_path_is_gone_afterwards(button: Device, tmp_path: Path) -> None:
    with DriverRig(button, window=WINDOW):
        assert (tmp_path / "button").is_fifo()
    assert list(tmp_path.iterdir()) == []
