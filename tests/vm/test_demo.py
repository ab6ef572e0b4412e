# SPDX-License-Identifier: MIT
"""The demonstration and ``run``, as a user starts them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import IO

import pytest

from ivshmem_virtio.vm.accelerator import Choice
from ivshmem_virtio.vm.kernel import Kernel

pytestmark = pytest.mark.newest_kernel

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
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        with process, process.stdin, process.stdout:
            # What is typed before the shell is there is lost, as on any serial console.
            before = _read_until(process.stdout, "/ # ")
            process.stdin.write(script)
            process.stdin.flush()
            output = before + process.stdout.read()
        errors.seek(0)
        told = errors.read()
    assert process.returncode == 0, output + told
    assert "16 bytes came" in output
    assert "accelerator" in told
    assert not list((tmp_path / "run").glob("*.sock"))


def _read_until(stream: IO[str], end: str) -> str:
    read = ""
    while not read.endswith(end):
        character = stream.read(1)
        assert character, f"ended before {end!r}: {read}"
        read += character
    return read


@pytest.mark.timeout(300)
def test_run_ends_guests_and_service_together(kernel: Kernel, module: Path, tmp_path: Path) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    config = tmp_path / "two.toml"
    text = f'[service]\nname = "{name}"\nruntime_dir = "run"\n'
    for guest in ("left", "right"):
        text += (
            f'[[guest]]\nname = "{guest}"\nregion = "1M"\nvm = {{ memory = "256M" }}\ndevice = [{{ type = "rng" }}]\n'
        )
    config.write_text(text)
    command = [*PROGRAM, "run", str(config), "--kernel", kernel.series, "--accel", "tcg"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for guest in ("left", "right"):
            _connect(tmp_path / "run" / f"{guest}.console", process)
        assert Path(f"/dev/shm/{name}.left").exists()
        process.terminate()
        assert process.stderr is not None
        told = process.stderr.read()
    assert process.returncode == 130, told
    assert "left.console" in told
    assert not list(Path("/dev/shm").glob(f"{name}.*"))
    assert not (tmp_path / "run" / "left.sock").exists()
    with pytest.raises(OSError, match=r"refused|No such file"):
        _connect(tmp_path / "run" / "left.console", process)


def _connect(path: Path, process: subprocess.Popen[str]) -> None:
    """Connect to a console as soon as it listens, while ``process`` lives."""
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(path))
            except OSError:
                if process.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                return
