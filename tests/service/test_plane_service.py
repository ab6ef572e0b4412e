# SPDX-License-Identifier: MIT
"""Disks of a service are served by compiled workers: what that leaves in the status file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.transport.driver.blk import BlkDriver

from .conftest import ConfigWriter
from .running_service import RunningService, driving, socket_of, wait_until


def counters(config: Path) -> dict[str, Any]:
    """Of the disk's first queue, as the back-end has written them down."""
    read = load_config(config)
    status = read.status_file(read.guests[0])
    (disk,) = [link for link in json.loads(status.read_text())["links"] if link["name"] == "disk"]
    found: dict[str, Any] = disk["queues"][0]["counters"]
    return found


@pytest.mark.parametrize("vectors", [1, 16])
def test_requests_are_counted(write_config: ConfigWriter, vectors: int) -> None:
    """With one vector the doorbell is the loop's, and the worker is woken by it."""
    config = write_config("web", vectors=vectors)
    with RunningService(config), driving(socket_of(config), "disk") as transport:
        disk = BlkDriver(transport)
        for sector in range(100):
            disk.read(sector, 1)
        disk.identity()
        wait_until(lambda: counters(config).get("chains") == 101, "the requests were not counted")
        found = counters(config)
    assert found["unusual"] == 1
    assert found["errors"] == 0
    assert found["bytes"] >= 100 * (16 + 512 + 1)
    assert bool(found["kicks"]) == (vectors > 1)


def test_a_null_disk_needs_no_image(write_config: ConfigWriter) -> None:
    config = write_config("web")
    config.write_text(
        config.read_text().replace('path = "web.img"', 'backend = "null"\n  size = "4M"\n  poll = "never"')
    )
    with RunningService(config), driving(socket_of(config), "disk") as transport:
        disk = BlkDriver(transport)
        assert disk.capacity == 8192
        disk.write(8191, bytes(512))
        disk.flush()
