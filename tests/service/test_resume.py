# SPDX-License-Identifier: MIT
"""Back-ends are killed with work in flight: the driver sees a pause, and each of its requests once."""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from ivshmem_virtio.link.layout import BackendLine, Capability, State
from ivshmem_virtio.service import backend_process
from ivshmem_virtio.transport.driver.blk import SECTOR, BlkDriver
from ivshmem_virtio.transport.driver.errors import EpochChanged
from ivshmem_virtio.transport.driver.transport import DriverTransport
from tests.figures import Figures
from tests.outages import assert_short, in_milliseconds, outages, python_start, taken_again

from .conftest import ConfigWriter
from .disk_load import DiskLoad
from .kept_service import KeptService, kept_service
from .running_service import PATIENCE, driving, driving_all, wait_until, waits_for_lock

QUEUES = 4
DEPTH = 32
DISKS = """[service]
name = "{name}"
runtime_dir = "run"
[[guest]]
name = "web"
region = "16M"
vectors = 16
  [[guest.device]]
  type = "blk"
  name = "disk"
  path = "disk.img"
  queues = 4
  queue_size = 64
  delay_ms = 10
  window = "4M"
  [[guest.device]]
  type = "blk"
  name = "slow"
  path = "slow.img"
  queues = 4
  queue_size = 64
  requests_per_second = 12
  window = "4M"
  [[guest.device]]
  type = "blk"
  name = "plain"
  path = "plain.img"
  queues = 4
  queue_size = 64
  window = "4M"
"""


def kill_now_and_then(service: KeptService, load: DiskLoad, kills: int, chance: random.Random) -> list[float]:
    """Kill the back-end of guest ``web`` again and again, some as they come up; when each was killed."""
    times = []
    for _ in range(kills):
        time.sleep(chance.uniform(0, 0.4))
        pid = service.backend("web")
        assert pid is not None
        times.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: service.backend("web") != pid, "there is another")  # type: ignore[misc]
        if chance.random() < 0.8:  # else it is killed while it comes up
            wait_until(lambda: load.transport.link.other_state() == State.READY, "it is ready")
            count = len(load.returned)
            wait_until(lambda count=count: len(load.returned) > count, "it answers")  # type: ignore[misc]
    return times


def epoch_in_header(transport: DriverTransport) -> int:
    extension = transport.backend.extension
    assert extension is not None
    return transport.link.window.load64(extension.offset + BackendLine.EPOCH)


@pytest.mark.parametrize(
    "kills", [30, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])], ids="{} kills".format
)
def test_every_request_returns_once_however_often_the_backend_is_killed(
    kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], figures: Figures
) -> None:
    """One disk answers out of order, one holds its requests for seconds, one is served by a compiled engine."""
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0)
    config = tmp_path / "service.toml"
    config.write_text(DISKS.format(name=f"test-{secrets.token_hex(4)}"))
    images = {name: tmp_path / f"{name}.img" for name in ("disk", "slow", "plain")}
    for image in images.values():
        image.write_bytes(os.urandom(1 << 20))
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with (
        kept_service(config) as service,
        driving_all(tmp_path / "run" / "web.sock", *images) as transports,
        ThreadPoolExecutor(1) as thread,
    ):
        loads = [
            DiskLoad(transport, images[name], random.Random(seed + i), queues=QUEUES, depth=DEPTH, slots=128)
            for i, (name, transport) in enumerate(transports.items(), start=1)
        ]
        epochs = [load.transport.backend.epoch for load in loads]
        killing = thread.submit(kill_now_and_then, service, loads[0], kills, random.Random(seed))
        while not killing.done():
            for load in loads:
                load.step()
        starting = thread.submit(python_start)
        while not starting.done():
            for load in loads:
                load.step()
        for load in loads:
            load.drain()
        for load, epoch in zip(loads, epochs, strict=True):
            assert epoch_in_header(load.transport) == epoch
            load.assert_each_once()
    fast, slow, plain = loads
    assert len(plain.returned) > kills
    assert fast.order != sorted(fast.order), "nothing came back out of order"
    assert max(slow.held) > 2, "nothing was held for seconds"
    assert len(fast.returned) > kills
    pauses = outages(list(pairwise(fast.returned)), killing.result())
    columns = in_milliseconds([pause for pause, number in pauses.items() if number == 1], starting.result())
    figures(
        "disk, driver in user space",
        kills=kills,
        requests=sum(len(load.returned) for load in loads),
        again=taken_again(capfd.readouterr().err),
        errors=0,
        **columns,
    )
    assert_short(columns, kills)


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
        wait_until(lambda: service.backend("web") != pid, "it is dead")
        disk.read(0, 8)
        assert transport.read_config(32, 1) == b"\0"


def stands_still(pid: int) -> bool:
    """Whether every thread of a process has stopped, which takes a moment after SIGSTOP."""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False
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
            wait_until(lambda: waits_for_lock(image), "somebody waits for the lock")
            os.kill(pid, signal.SIGKILL)
            locking.result()
            wait_until(lambda: transport.link.other_state() == 0, "it is gone")
            transport.seconds = 0.01
            transport.reset()
            transport.seconds = PATIENCE
        transport.bring_up(PATIENCE)
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
        wait_until(lambda: service.backend("web") != pid, "it is dead")
        with pytest.raises(EpochChanged):
            disk.read(0, 1)
        transport.bring_up()
        assert BlkDriver(transport).read(0, 1) == image.read_bytes()[:SECTOR]
