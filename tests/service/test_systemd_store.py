# SPDX-License-Identifier: MIT
"""A service under a manager that keeps its descriptors: killed, restarted and stopped."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.transport.driver.blk import BlkDriver

from .conftest import ConfigWriter
from .loaded_disk import longest_gap, under_load
from .running_service import driving, processes_naming, socket_of, wait_until
from .service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    made = ServiceManager(tmp_path, tmp_path / "run" / "web.sock")
    yield made
    made.close()


@pytest.fixture
def config(write_config: ConfigWriter) -> Path:
    config = write_config("web")
    config.write_text(config.read_text().replace("[service]\n", '[service]\nvault = "systemd"\n'))
    return config


def test_a_store_that_is_too_small(config: Path, manager: ServiceManager) -> None:
    manager.most = 20
    manager.start(config)
    assert manager.end(signal.SIGKILL) == -signal.SIGKILL
    manager.start(config)
    assert "descriptors of the last keeper are missing" in manager.log.read_text()
    with driving(socket_of(config, "web"), "disk") as transport:
        assert len(BlkDriver(transport).read(0, 8)) == 4096
    assert manager.end(signal.SIGTERM) == 0


def test_everything_is_in_the_store(config: Path, manager: ServiceManager, tmp_path: Path) -> None:
    manager.start(config)
    assert not processes_naming(tmp_path / "run"), "there is no vault process"
    with under_load(config, "web") as load:
        gap = longest_gap(load, lambda: manager.end(signal.SIGKILL), 0.5)
        manager.start(config)
        print(f"longest gap: {gap:.3f} s")
        assert "took over guests web" in manager.log.read_text()
        assert "started anew" not in manager.log.read_text()
        # As RestartKillSignal= of the unit has it.
        assert manager.end(signal.SIGUSR2) == 0
        assert "STOPPING" not in manager.said
        manager.start(config)
        assert "started anew" in manager.log.read_text()
    with driving(socket_of(config, "web"), "disk") as transport:
        assert len(BlkDriver(transport).read(0, 8)) == 4096
    assert manager.end(signal.SIGTERM) == 0
    assert "STOPPING" in manager.said
    wait_until(lambda: not manager.stored, "nothing is left in the store")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as early:
        # The manager's socket is still there, for a guest that comes before the service.
        early.connect(str(socket_of(config, "web")))
