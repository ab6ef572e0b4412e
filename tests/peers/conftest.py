# SPDX-License-Identifier: MIT
"""Servers for the tests of this folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import posix_ipc
import pytest

from .served_region import ServedRegion, ServerProcess


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="iv-") as path:
        yield Path(path)


@pytest.fixture
def served(folder: Path) -> Iterator[ServedRegion]:
    """A server in this process."""
    region = ServedRegion(folder)
    yield region
    region.close()


@pytest.fixture
def shm_name() -> Iterator[str]:
    """A name for shared memory that nobody else has; removed at the end."""
    name = f"ivshmem-test.{os.getpid()}.{os.urandom(4).hex()}"
    yield name
    try:
        posix_ipc.unlink_shared_memory(f"/{name}")
    except posix_ipc.ExistentialError:
        return


@pytest.fixture
def server_process(folder: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts server processes."""
    started: list[ServerProcess] = []

    def start(*arguments: str, wait: bool = True) -> ServerProcess:
        process = ServerProcess(folder, *arguments)
        started.append(process)
        if wait:
            process.wait_ready()
        return process

    yield start
    for process in started:
        process.close()
