# SPDX-License-Identifier: MIT
"""Back-ends are killed with work in flight: the driver sees a pause, and each of its requests once."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ivshmem_virtio.link.layout import BackendLine, Capability
from ivshmem_virtio.service import backend_process
from ivshmem_virtio.transport.driver.blk import SECTOR, BlkDriver
from ivshmem_virtio.transport.driver.errors import EpochChanged
from ivshmem_virtio.transport.driver.queue import Request
from ivshmem_virtio.transport.driver.transport import DriverTransport

from .conftest import ConfigWriter
from .kept_service import KeptService, kept_service
from .running_service import driving, wait_until

KILLS = 30
SLOTS = 48
SLOT_SECTORS = 16
IN_FLIGHT = 24


class Load:
    """Writes and reads of slots of a disk, many at once, one at a time for each slot; every answer is checked."""

    def __init__(self, disk: BlkDriver, image: Path, chance: random.Random) -> None:
        self.disk = disk
        self.content = [
            image.read_bytes()[slot * SLOT_SECTORS * SECTOR : (slot + 1) * SLOT_SECTORS * SECTOR]
            for slot in range(SLOTS)
        ]
        self.submitted = self.returned = 0
        self._chance = chance
        self._out: dict[Request, tuple[int, bytes | None]] = {}

    def fill(self) -> None:
        """As many in flight as the load is meant to have."""
        while len(self._out) < IN_FLIGHT:
            busy = {slot for slot, _ in self._out.values()}
            slot = self._chance.choice([slot for slot in range(SLOTS) if slot not in busy])
            data = self._chance.randbytes(SLOT_SECTORS * SECTOR) if self._chance.random() < 0.6 else None
            sector = slot * SLOT_SECTORS
            request = (
                self.disk.submit_read(sector, SLOT_SECTORS) if data is None else self.disk.submit_write(sector, data)
            )
            self._out[request] = (slot, data)
            self.submitted += 1

    def collect(self) -> None:
        """Take what is back; a request that came back twice would be a violation in the ring, or unknown here."""
        for request in self.disk.collect():
            slot, data = self._out.pop(request)
            assert request.buffers[-1] == b"\0", "a request failed"
            if data is None:
                assert b"".join(request.buffers[:-1]) == self.content[slot]
            else:
                self.content[slot] = data
            self.returned += 1

    def drain(self) -> None:
        while self._out:
            self.collect()


def kill_now_and_then(service: KeptService, transport: DriverTransport, chance: random.Random) -> list[float]:
    """Kill the back-end of guest ``web`` again and again; how long the driver was without one each time, seconds."""
    pauses = []
    for _ in range(KILLS):
        time.sleep(chance.uniform(0, 0.3))
        pid = service.backend("web")
        assert pid is not None
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: service.backend("web") != pid, "there is another")  # type: ignore[misc]
        if chance.random() < 0.8:  # else it is killed while it comes up
            wait_until(lambda: transport.link.other_state() == 1, "it is ready")
            pauses.append(time.monotonic() - began)
    return pauses


def test_every_request_returns_once_however_often_the_backend_is_killed(
    write_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0.05)
    config = write_config("web")
    image = config.parent / "web.img"
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with kept_service(config) as service, driving(config.parent / "run" / "web.sock", "disk") as transport:
        load = Load(BlkDriver(transport), image, random.Random(seed))
        epoch = transport.backend.epoch
        with ThreadPoolExecutor(1) as thread:
            killing = thread.submit(kill_now_and_then, service, transport, random.Random(seed + 1))
            while not killing.done():
                load.fill()
                load.collect()
            pauses = killing.result()
        load.drain()
        extension = transport.backend.extension
        assert extension is not None
        assert transport.link.window.load64(extension.offset + BackendLine.EPOCH) == epoch
        assert load.returned == load.submitted
        assert load.returned > KILLS
        assert image.read_bytes()[: SLOTS * SLOT_SECTORS * SECTOR] == b"".join(load.content)
    print(f"{load.returned} requests, {KILLS} kills, pauses {min(pauses):.2f} to {max(pauses):.2f} s")


def test_the_cache_mode_outlives_a_killed_backend(write_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0.05)
    config = write_config("web")
    with kept_service(config) as service, driving(config.parent / "run" / "web.sock", "disk") as transport:
        disk = BlkDriver(transport)
        assert Capability.RESUME in transport.capabilities
        transport.write_config(32, b"\0")
        pid = service.backend("web")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        disk.read(0, 8)
        assert service.backend("web") != pid
        assert transport.read_config(32, 1) == b"\0"


def stands_still(pid: int) -> bool:
    """Whether every thread of a process has stopped, which takes a moment after SIGSTOP."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(") ")[2].startswith("T") for stat in stats)


def test_a_reset_while_nobody_is_there_is_what_counts(
    write_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in flight is not redone behind the back of a driver that has given it up."""
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0.05)
    config = write_config("web")
    image = config.parent / "web.img"
    with kept_service(config) as service, driving(config.parent / "run" / "web.sock", "disk") as transport:
        disk = BlkDriver(transport)
        pid = service.backend("web")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: stands_still(pid), "it has stopped")
        disk.submit_write(0, b"\xaa" * SECTOR)
        disk.queues[0].kick()
        before = image.read_bytes()
        with image.open("rb") as lock, ThreadPoolExecutor(1) as thread:
            # Whoever holds the lock on the image keeps the next back-end from coming up.
            locking = thread.submit(fcntl.flock, lock, fcntl.LOCK_EX)
            os.kill(pid, signal.SIGKILL)
            locking.result()
            wait_until(lambda: transport.link.other_state() == 0, "it is gone")
            transport.seconds = 0.01
            transport.reset()
            transport.seconds = 30
        transport.bring_up(30)
        assert BlkDriver(transport).read(0, 1) == before[:SECTOR]
        assert image.read_bytes() == before


def test_another_image_is_another_disk(write_config: ConfigWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0.05)
    config = write_config("web")
    image = config.parent / "web.img"
    with kept_service(config) as service, driving(config.parent / "run" / "web.sock", "disk") as transport:
        disk = BlkDriver(transport)
        other = image.with_suffix(".new")
        other.write_bytes(os.urandom(1 << 20))
        other.replace(image)
        pid = service.backend("web")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EpochChanged):
            disk.read(0, 1)
        transport.bring_up()
        assert BlkDriver(transport).read(0, 1) == image.read_bytes()[:SECTOR]
