# SPDX-License-Identifier: MIT
"""The commands that start machines, as far as they go without one; whole runs are in tests/vm."""

from __future__ import annotations

import json
import shlex
import uuid
from pathlib import Path

import pytest

from ivshmem_virtio.cli import vm
from ivshmem_virtio.cli.main import run
from ivshmem_virtio.vm.accelerator import CHOICES
from ivshmem_virtio.vm.errors import ServiceFailed
from ivshmem_virtio.vm.kernel import DEFAULT_SERIES, SERIES
from ivshmem_virtio.vm.service import ServiceProcess


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(
        f"""
        [service]
        name = "t{uuid.uuid4().hex[:12]}"
        runtime_dir = "run"
        [[guest]]
        name = "left"
        vectors = 9
        device = [{{ type = "rng" }}]
        [[guest]]
        name = "right"
        device = [{{ type = "rng" }}]
        """
    )
    return path


def test_the_choices_are_those_of_the_tooling() -> None:
    assert vm.KERNELS == SERIES
    assert vm.KERNELS[0] == DEFAULT_SERIES
    assert vm.ACCELERATORS == CHOICES


def test_qemu_args_print_what_a_shell_can_read(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["qemu-args", str(config_file), "--guest", "left"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert f"socket,id=ivshmem0,path={config_file.parent}/run/left.sock" in words
    assert "ivshmem-doorbell,chardev=ivshmem0,vectors=9" in words
    assert run(["qemu-args", str(config_file), "--guest", "left", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == words


@pytest.mark.parametrize("command", ["qemu-args", "shell"])
def test_of_several_guests_one_has_to_be_named(
    config_file: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run([command, str(config_file)]) == 1
    assert "name one of: left, right" in capsys.readouterr().err


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match=r"serve ended with status 1: .*absent\.toml: No such file"):
        ServiceProcess(["serve", str(tmp_path / "absent.toml")], tmp_path)


def test_a_service_starts_and_ends(config_file: Path, tmp_path: Path) -> None:
    with ServiceProcess(["serve", str(config_file)], tmp_path) as service:
        service.check_alive()
        assert (tmp_path / "run" / "left.sock").is_socket()
        assert service.stop() == 0
        with pytest.raises(ServiceFailed, match="ended with status 0"):
            service.check_alive()
