# SPDX-License-Identifier: MIT
"""A disk whose storage keeps a write waiting for as long as the test wants."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from ivshmem_virtio.core import Uring
from ivshmem_virtio.transport.driver.attach import choose_link, server_peer
from ivshmem_virtio.transport.driver.blk import SECTOR, BlkDriver
from ivshmem_virtio.transport.driver.queue import Request
from ivshmem_virtio.transport.driver.transport import DriverTransport

from .conftest import ConfigWriter
from .gated_storage import GatedStorage, gated_storage
from .kept_service import KeptService, kept_service
from .running_service import PATIENCE, driving, socket_of, wait_until

LENGTH = 16 << 10
FAR = 4096
"""A sector that no test writes to."""
OLD, NEW = b"\xdd" * LENGTH, b"\xaa" * LENGTH


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[GatedStorage]:
    try:
        Uring(1)
    except OSError as error:
        pytest.skip(f"no io_uring here ({error.strerror}): liburing-dev at build time and a kernel that allows it")
    with gated_storage(tmp_path) as found:
        yield found


def disk_on(storage: GatedStorage, write_config: ConfigWriter) -> Path:
    config = write_config("web")
    keys = f'path = "{storage.path}"\n  direct = true\n  aio = "io_uring"'
    config.write_text(config.read_text().replace('path = "web.img"', keys))
    return config


def write_that_waits(service: KeptService, storage: GatedStorage, disk: BlkDriver) -> Request:
    """A write that the kernel has in hand, and that does not get any further."""
    pid = service.backend("web")
    assert pid is not None
    storage.hold(pid)
    request = disk.submit_write(0, OLD)
    disk.queues[0].kick()
    # Each is served after the write was; that the second one is back says that the batch of the first one is over.
    for _ in range(2):
        disk.read(FAR, 1)
    assert request.written is None
    return request


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_a_write_that_waits_holds_up_nobody(storage: GatedStorage, write_config: ConfigWriter) -> None:
    config = disk_on(storage, write_config)
    with kept_service(config) as service, driving(socket_of(config), "disk") as transport:
        disk = BlkDriver(transport)
        waiting = write_that_waits(service, storage, disk)
        for sector in range(FAR, FAR + 64):
            assert disk.read(sector, 1) == storage.read(sector * SECTOR, SECTOR)
        assert disk.identity()
        assert waiting.written is None
        assert storage.read(0, LENGTH) != OLD
        storage.release()
        disk.finish(waiting)
        assert storage.read(0, LENGTH) == OLD


def test_a_killed_back_end_keeps_the_image_until_its_write_is_over(
    storage: GatedStorage, write_config: ConfigWriter
) -> None:
    config = disk_on(storage, write_config)
    with kept_service(config) as service, driving(socket_of(config), "disk") as transport:
        disk = BlkDriver(transport)
        waiting = write_that_waits(service, storage, disk)
        killed = service.backend("web")
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert is_locked(storage.path)
            time.sleep(0.02)
        assert storage.read(0, LENGTH) != OLD
        storage.release()
        disk.finish(waiting)
        assert service.backend("web") != killed
        # Carried out by the dead one, and again by its successor; after that, by nobody.
        disk.write(0, NEW)
        disk.flush()
        assert storage.read(0, LENGTH) == NEW
        assert storage.read(FAR * SECTOR, SECTOR) == disk.read(FAR, 1)


def test_a_reset_waits_for_what_is_under_way(storage: GatedStorage, write_config: ConfigWriter) -> None:
    """The next driver has the window to itself, and the last word about what is on the disk."""
    config = disk_on(storage, write_config)
    with kept_service(config) as service, server_peer(socket_of(config), PATIENCE) as peer:
        layout = choose_link(peer.links(), "disk")
        dead = DriverTransport(peer.attach(layout), peer_id=peer.peer_id, seconds=PATIENCE)
        dead.bring_up(PATIENCE)
        write_that_waits(service, storage, BlkDriver(dead))
        alive = DriverTransport(peer.attach(layout, force=True), peer_id=peer.peer_id, seconds=PATIENCE)
        coming = Thread(target=alive.bring_up, args=(PATIENCE,))
        coming.start()
        coming.join(0.5)
        assert coming.is_alive(), "the reset was answered over a write that is under way"
        storage.release()
        coming.join(PATIENCE)
        assert not coming.is_alive()
        assert storage.read(0, LENGTH) == OLD
        disk = BlkDriver(alive)
        disk.write(0, NEW)
        wait_until(lambda: storage.read(0, LENGTH) == NEW, "the write of the second driver is there")
        for driver in (alive, dead):
            driver.link.close()
