# SPDX-License-Identifier: MIT
"""A back-end that is started again without what a device needs: first that link waits, then it answers with errors."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ivshmem_virtio.link.layout import BackendLine
from ivshmem_virtio.service import backend_process
from ivshmem_virtio.transport.driver.attach import choose_link, server_peer
from ivshmem_virtio.transport.driver.blk import BlkDriver
from ivshmem_virtio.transport.driver.errors import RequestFailed
from ivshmem_virtio.transport.driver.rng import RngDriver
from ivshmem_virtio.transport.driver.transport import DriverTransport
from ivshmem_virtio.transport.features import Feature

from .conftest import ConfigWriter
from .kept_service import KeptService, kept_service
from .running_service import PATIENCE, wait_until, waits_for_lock

TIMEOUT = 3.0


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0.05)


@pytest.fixture
def config(write_config: ConfigWriter) -> Path:
    """Guest web: a disk with a short time-out, and entropy."""
    path = write_config("web")
    path.write_text(path.read_text().replace('window = "2M"', f'window = "2M"\n  timeout = {TIMEOUT}'))
    return path


@contextmanager
def driving(config: Path, *names: str) -> Iterator[list[DriverTransport]]:
    """Drivers of several links of guest web."""
    with server_peer(config.parent / "run" / "web.sock", PATIENCE) as peer:
        drivers: list[DriverTransport] = []
        try:
            for name in names:
                link = peer.attach(choose_link(peer.links(), name))
                drivers.append(DriverTransport(link, peer_id=peer.peer_id, seconds=PATIENCE))
                drivers[-1].bring_up(PATIENCE)
            yield drivers
        finally:
            for driver in drivers:
                driver.close()
                driver.link.close()


def kill_backend(service: KeptService) -> None:
    pid = service.backend("web")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: service.backend("web") not in (None, pid), "there is another")


def link_status(config: Path, name: str) -> dict[str, Any]:
    path = config.parent / "run" / "backends" / "web" / "web.json"
    return next(link for link in json.loads(path.read_text())["links"] if link["name"] == name)


def status_once(config: Path, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first status of a link of which ``condition`` is true: it is published a moment after the fact."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found.append(link_status(config, name))
        return condition(found[-1])

    wait_until(look, "the status says so")
    return found[-1]


def epoch(driver: DriverTransport) -> int:
    extension = driver.backend.extension
    assert extension is not None
    return driver.link.window.load64(extension.offset + BackendLine.EPOCH)


def test_a_disk_whose_image_is_gone(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The disk: nobody, then errors, then the disk again under the same epoch, in whose packed ring all of them serve.
    The entropy beside it goes on.
    """
    config.write_text(config.read_text().replace('type = "blk"', 'type = "blk"\n  ring = "packed"'))
    image = config.parent / "web.img"
    away = image.with_suffix(".away")
    with kept_service(config) as service, driving(config, "disk", "rng") as (disk_driver, rng_driver):
        disk, rng = BlkDriver(disk_driver), RngDriver(rng_driver)
        assert disk_driver.features & Feature.RING_PACKED
        before = epoch(disk_driver)
        content = disk.read(0, 8)
        image.rename(away)
        began = time.monotonic()
        kill_backend(service)
        assert len(rng.read(32)) == 32
        waiting = disk.submit_write(0, b"\xaa" * 512)
        disk.queues[0].kick()
        noticed = status_once(config, "disk", lambda link: link["trouble"] is not None)
        assert noticed["served_by"] == "nobody"
        assert "web.img does not exist" in noticed["trouble"]
        with pytest.raises(RequestFailed):
            disk.finish(waiting)
        assert time.monotonic() - began >= TIMEOUT / 2
        status_once(config, "disk", lambda link: link["served_by"] == "errors")
        assert link_status(config, "rng")["served_by"] == "device"
        with pytest.raises(RequestFailed):
            disk.read(0, 8)
        assert len(rng.read(32)) == 32
        away.rename(image)
        wait_until(lambda: link_status(config, "disk")["served_by"] == "device", "the disk is back")
        assert disk.read(0, 8) == content
        assert epoch(disk_driver) == before
        disk.write(0, b"\xbb" * 512)
    said = capfd.readouterr().err
    # A file that came later takes a new process, which may answer with errors for a moment as well, and says so.
    first, then, _ = said.partition("is another file than when this back-end started")
    assert then
    assert first.count("so requests are answered with errors from now on") == 1
    (again,) = [line for line in said.splitlines() if "served again after" in line]
    assert "disk: " in again
    assert "2 requests got errors" in again
    assert image.read_bytes()[:512] == b"\xbb" * 512


def test_a_driver_that_comes_while_the_disk_fails(config: Path) -> None:
    """It can set up the device, is refused, and can go on once the disk is back."""
    image = config.parent / "web.img"
    away = image.with_suffix(".away")
    with kept_service(config) as service:
        image.rename(away)
        kill_backend(service)
        wait_until(lambda: link_status(config, "disk")["served_by"] == "errors", "the disk fails")
        with driving(config, "disk") as (driver,):
            disk = BlkDriver(driver)
            assert disk.capacity == away.stat().st_size // 512
            with pytest.raises(RequestFailed):
                disk.read(0, 1)
            driver.write_config(32, b"\0")
            assert driver.read_config(32, 1) == b"\0"
            away.rename(image)
            wait_until(lambda: link_status(config, "disk")["served_by"] == "device", "the disk is back")
            assert disk.read(0, 1) == image.read_bytes()[:512]
            assert driver.read_config(32, 1) == b"\0", "the cache mode chosen meanwhile counts"


def test_a_disk_whose_lock_somebody_else_holds(config: Path) -> None:
    image = config.parent / "web.img"
    with kept_service(config) as service, driving(config, "disk") as (driver,):
        disk = BlkDriver(driver)
        with image.open("rb") as lock:
            pid = service.backend("web")
            assert pid is not None
            # It has to be in line before the next back-end is, however slow this process is.
            taker = Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX))
            taker.start()
            wait_until(lambda: waits_for_lock(image), "somebody waits for the lock")
            os.kill(pid, signal.SIGKILL)
            taker.join()
            with pytest.raises(RequestFailed):
                disk.read(0, 1)
            status_once(config, "disk", lambda link: link["trouble"] == "it is still being opened")
        assert_read_in_time(disk, image)


def assert_read_in_time(disk: BlkDriver, image: Path) -> None:
    def works() -> bool:
        try:
            return disk.read(0, 1) == image.read_bytes()[:512]
        except RequestFailed:
            return False

    wait_until(works, "the disk is back")


def gated(config: Path) -> Path:
    """One more device, and the file that shuts it."""
    gate = config.parent / "gate"
    device = f'  [[guest.device]]\n  type = "tests.service.gated_device:Gated"\n  name = "gated"\n  gate = "{gate}"\n'
    config.write_text(config.read_text() + device + f"  timeout = {TIMEOUT}\n")
    return gate


@pytest.mark.parametrize("word", ["raise", "exit"])
def test_a_device_that_cannot_be_opened_does_not_take_the_others_along(config: Path, word: str) -> None:
    gate = gated(config)
    with kept_service(config) as service, driving(config, "gated", "disk") as (driver, disk_driver):
        assert echo(driver) == b"hello"
        disk = BlkDriver(disk_driver)
        gate.write_text(word)
        kill_backend(service)
        wait_until(lambda: link_status(config, "gated")["served_by"] == "errors", "the device fails")
        wait_until(lambda: link_status(config, "disk")["served_by"] == "device", "the disk is served")
        assert disk.read(0, 1) == (config.parent / "web.img").read_bytes()[:512]
        reason = "ZeroDivisionError: the gate is shut" if word == "raise" else "back-ends in a row ended"
        wait_until(lambda: reason in (link_status(config, "gated")["trouble"] or ""), "the reason is known")
        gate.unlink()
        wait_until(lambda: link_status(config, "gated")["served_by"] == "device", "it works again")
        assert echo(driver) == b"hello"


def echo(driver: DriverTransport) -> bytes:
    if not driver.queues:
        driver.negotiate(0)
        driver.setup_queue(0)
        driver.ready()
    ring = driver.queues[0]
    return driver.complete(ring, ring.submit([b"hello"], [5])).data


def test_the_first_start_is_an_error(config: Path) -> None:
    gated(config).write_text("raise")
    with (
        pytest.raises(backend_process.BackendFailed, match="ZeroDivisionError: the gate is shut"),
        kept_service(config),
    ):
        pass
