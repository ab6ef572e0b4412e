# SPDX-License-Identifier: MIT
"""A front-end that dies with writes in flight: what had not reached the image when the next one came never does."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ivshmem_virtio.transport.driver.attach import choose_link, server_peer
from ivshmem_virtio.transport.driver.blk import SECTOR, BlkDriver
from ivshmem_virtio.transport.driver.transport import DriverTransport

from .conftest import ConfigWriter
from .kept_service import kept_service
from .running_service import PATIENCE, wait_until

WRITES = 24
LENGTH = 16 << 10
TRIES = 5
BYTES_PER_SECOND = 128 << 10
"""So slow that the writes take three seconds."""


def slow_disk(write_config: ConfigWriter) -> Path:
    config = write_config("web")
    text = config.read_text().replace('window = "2M"', f'window = "2M"\n  bytes_per_second = {BYTES_PER_SECOND}')
    config.write_text(text)
    return config


def test_writes_of_a_dead_front_end_do_not_land(write_config: ConfigWriter) -> None:
    """The second front-end is that of a guest that crashed: the first one said nothing before it went."""
    config = slow_disk(write_config)
    assert any(writes_are_left_out(config) for _ in range(TRIES)), "too slow to see anything"


def writes_are_left_out(config: Path) -> bool:
    """Whether there were any left, when the second front-end came, that could have landed later."""
    image = config.parent / "web.img"
    image.write_bytes(os.urandom(1 << 20))
    with kept_service(config), server_peer(config.parent / "run" / "web.sock", PATIENCE) as peer:
        layout = choose_link(peer.links(), "disk")
        dead = DriverTransport(peer.attach(layout), peer_id=peer.peer_id, seconds=PATIENCE)
        dead.bring_up(PATIENCE)
        disk = BlkDriver(dead)
        before = image.read_bytes()
        began = time.monotonic()
        for number in range(WRITES):
            disk.submit_write(number * LENGTH // SECTOR, b"\xdd" * LENGTH)
        disk.queues[0].kick()
        wait_until(lambda: image.read_bytes() != before, "some of it lands")
        alive = DriverTransport(peer.attach(layout, force=True), peer_id=peer.peer_id, seconds=PATIENCE)
        alive.bring_up(PATIENCE)
        at_reset = image.read_bytes()
        disk = BlkDriver(alive)
        while time.monotonic() < began + 1.5 * WRITES * LENGTH / BYTES_PER_SECOND:
            disk.identity()
            time.sleep(0.1)
        assert image.read_bytes() == at_reset
        disk.write((WRITES - 1) * LENGTH // SECTOR, b"\xaa" * SECTOR)
        assert image.read_bytes()[(WRITES - 1) * LENGTH :][:SECTOR] == b"\xaa" * SECTOR
        for driver in (alive, dead):
            driver.link.close()
        return at_reset.count(b"\xdd" * LENGTH) < WRITES
