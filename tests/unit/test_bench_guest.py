# SPDX-License-Identifier: MIT
"""What suite ``guest`` asks QEMU, fio and iperf3 for, and what it makes of their answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ivshmem_virtio.bench.guest_loads import DISK_LOADS, NETWORK_LOADS, DiskLoad, LoadFailed, NetworkLoad
from ivshmem_virtio.bench.guest_machine import BOUNCING, OURS, PLAIN, configuration, peer_arguments
from ivshmem_virtio.bench.guest_taps import Tap
from ivshmem_virtio.service.config import load_config

TAPS = {BOUNCING: Tap("tapb", 211), PLAIN: Tap("tapc", 212)}


def fio(side: str, *, iops: float = 0.0, bandwidth: int = 0, error: int = 0, total: int = 100) -> str:
    """As fio prints it, a warning before it."""
    job = {"error": error, side: {"iops": iops, "bw_bytes": bandwidth, "total_ios": total}}
    return "fio: a warning\n" + json.dumps({"jobs": [job]})


def test_figures_of_fio() -> None:
    reads, writes = DiskLoad("r", "randread", "4k", 1), DiskLoad("w", "write", "1M", 4)
    assert reads.unit == "IOPS"
    assert reads.figure(fio("read", iops=1234.5)) == 1234.5
    assert writes.unit == "MiB/s"
    assert writes.figure(fio("write", bandwidth=3 << 20)) == 3


@pytest.mark.parametrize(
    "output", ["", "no json", "{}", '{"jobs": []}', fio("write"), fio("read", error=5), fio("read", total=0)]
)
def test_no_figure_of_fio(output: str) -> None:
    with pytest.raises(LoadFailed, match="fio"):
        DISK_LOADS[0].figure(output)


def test_figures_of_iperf3() -> None:
    load = NETWORK_LOADS[0]
    assert load.figure(json.dumps({"end": {"sum_received": {"bits_per_second": 5e8}}})) == 500
    for output in ("", "{}", '{"error": "unable to connect"}'):
        with pytest.raises(LoadFailed, match="iperf3"):
            load.figure(output)


def test_each_direction_once() -> None:
    commands = [load.command(TAPS[PLAIN], 5201, 2) for load in NETWORK_LOADS]
    assert [" -R" in command for command in commands] == [False, True]
    assert all("-c 198.18.212.1 -p 5201 -t 2" in command for command in commands)
    assert isinstance(NETWORK_LOADS[0], NetworkLoad)


def test_only_the_bouncing_peer_is_behind_the_platform(tmp_path: Path) -> None:
    devices = [argument for argument in peer_arguments(tmp_path, TAPS) if argument.startswith("virtio-")]
    assert [("iommu_platform=on" in device) for device in devices] == [True, True, False, False]
    assert all("disable-legacy=on" in device for device in devices)
    assert not [argument for argument in peer_arguments(tmp_path, {}) if "tap" in argument]


def test_the_configuration_of_ours_is_one(tmp_path: Path) -> None:
    config = tmp_path / "service.toml"
    config.write_text(configuration("bench-x", Tap("tapa", 210)))
    devices = load_config(config, images=False).guests[0].devices
    assert [device.type for device in devices] == ["blk", "net"]
    config.write_text(configuration("bench-x", None))
    assert [device.name for device in load_config(config, images=False).guests[0].devices] == [OURS]
