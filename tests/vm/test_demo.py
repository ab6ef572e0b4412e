# SPDX-License-Identifier: MIT
"""The demonstration and ``run``, as a user starts them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from ivshmem_virtio.vm.accelerator import Choice
from ivshmem_virtio.vm.kernel import Kernel

PROGRAM = [sys.executable, "-m", "ivshmem_virtio"]


@pytest.mark.skipif(shutil.which("passt") is None, reason="needs passt: apt-get install passt")
@pytest.mark.timeout(900)
def test_the_demonstration_shows_every_device_work(
    kernel: Kernel, module: Path, accelerator: Choice, tmp_path: Path
) -> None:
    results = tmp_path / "results.json"
    command = [*PROGRAM, "demo", "--kernel", kernel.series, "--accel", accelerator.accelerator, "--json", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert found["passed"] is True
    assert found["kernel"] == kernel.release
    names = " ".join(check["name"] for check in found["checks"])
    for device in ("PCI", "virtio", "disk", "console hvc0", "console port", "network", "rng", "MSI-X", "kernel log"):
        assert device in names
    assert "1af4:1110" in done.stdout
    assert "virtio_blk" in done.stdout


@pytest.mark.timeout(300)
def test_run_serves_and_boots_with_one_command(
    kernel: Kernel, module: Path, accelerator: Choice, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f"""
        [service]
        name = "t{uuid.uuid4().hex[:12]}"
        runtime_dir = "run"
        [[guest]]
        name = "one"
        region = "16M"
        vm = {{ memory = "256M" }}
        device = [{{ type = "rng" }}]
        """
    )
    command = [*PROGRAM, "run", str(config), "--kernel", kernel.series, "--accel", accelerator.accelerator]
    command += ["--append", "quiet", "--", "-name", "of-ours"]
    wait = "until [ -e /sys/bus/virtio/devices/*/driver ]; do usleep 100000; done"
    script = f"{wait}; echo $(head -c 16 /dev/hwrng | wc -c) bytes came; poweroff -f\n"
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 bytes came" in done.stdout
    assert "accelerator" in done.stderr
    assert not list((tmp_path / "run").glob("*.sock"))
