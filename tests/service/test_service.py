# SPDX-License-Identifier: MIT
"""The service as a user runs it: what a guest gets, what a back-end can reach, what each end of it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ivshmem_virtio.link.layout import DIRECTORY_SIZE
from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.service.plan import plan
from ivshmem_virtio.transport.driver.blk import BlkDriver
from ivshmem_virtio.transport.driver.net import NetDriver
from ivshmem_virtio.transport.driver.rng import RngDriver

from .conftest import ConfigWriter
from .running_service import RunningService, driving, open_files, region_mappings, socket_of, wait_until


def test_a_guest_reads_and_writes_its_disk(write_config: ConfigWriter) -> None:
    config = write_config("web")
    image = config.parent / "web.img"
    with RunningService(config), driving(socket_of(config), "disk") as transport:
        disk = BlkDriver(transport)
        assert disk.read(0, disk.capacity) == image.read_bytes()
        disk.write(7, b"\x5a" * 1024)
        disk.flush()
        assert image.read_bytes()[7 * 512 : 9 * 512] == b"\x5a" * 1024


def test_devices_of_one_guest_work_side_by_side(write_config: ConfigWriter) -> None:
    config = write_config("web")
    with RunningService(config):
        with driving(socket_of(config), "disk") as transport:
            assert len(BlkDriver(transport).read(0, 8)) == 4096
        with driving(socket_of(config), "rng") as transport:
            rng = RngDriver(transport)
            assert rng.read(64) != rng.read(64)


@pytest.mark.parametrize("vectors", [1, 2, 3, 16])
def test_every_number_of_vectors_works(write_config: ConfigWriter, vectors: int) -> None:
    config = write_config("web", vectors=vectors)
    with RunningService(config), driving(socket_of(config), "disk") as transport:
        disk = BlkDriver(transport)
        disk.write(0, b"v" * 512)
        assert disk.read(0, 1) == b"v" * 512


def test_a_backend_maps_its_links_slices_and_nothing_else(write_config: ConfigWriter) -> None:
    config = write_config("web", "db", switch=True)
    loaded = load_config(config, images=False)
    with RunningService(config) as service:
        pids = service.children()
        assert len(pids) == 3
        for guest in loaded.guests:
            links = plan(loaded, guest).links
            for pid in pids:
                mapped = region_mappings(pid, loaded.shared_memory(guest))
                allowed = [
                    span
                    for link in links
                    for span in (
                        (link.layout.offset, link.layout.state_table_size),
                        (link.layout.window_offset, link.layout.rw_size),
                    )
                ]
                joined = {(link.layout.offset, link.layout.state_table_size + link.layout.rw_size) for link in links}
                assert all(span in allowed or span in joined for span in mapped)
                assert all(offset >= DIRECTORY_SIZE for offset, _ in mapped)
        own = [pid for pid in pids if region_mappings(pid, loaded.shared_memory(loaded.guests[0]))]
        assert len(own) == 2, "a guest is mapped by its own back-end and by its switch"
        for pid in pids:
            assert not any(loaded.shared_memory(guest) in file for guest in loaded.guests for file in open_files(pid))
        assert not any(region_mappings(service.pid, loaded.shared_memory(guest)) for guest in loaded.guests)


def test_guests_meet_on_a_switch_and_a_third_is_added_without_a_restart(write_config: ConfigWriter) -> None:
    config = write_config("web", "db", switch=True)
    with RunningService(config) as service:
        before = service.children()
        with (
            driving(socket_of(config, "web"), "lan") as one,
            driving(socket_of(config, "db"), "lan") as two,
        ):
            web, db = NetDriver(one), NetDriver(two)
            exchange(web, db)
            write_config("web", "db", "extra", switch=True)
            service.reload()
            wait_until(lambda: "guest extra added" in service.said(), "the third guest is added")
            assert service.children()[: len(before)] == before
            exchange(web, db)
            with driving(socket_of(config, "extra"), "lan") as three:
                exchange(NetDriver(three), web)


def exchange(sender: NetDriver, receiver: NetDriver) -> None:
    """One broadcast frame arrives as it was sent."""
    frame = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x09" + b"\x88\xb5" + os.urandom(100)
    sender.send(frame)
    wait_until(lambda: frame in receiver.receive(0.1), "the frame arrives")


def test_a_killed_backend_is_replaced(write_config: ConfigWriter) -> None:
    config = write_config("web")
    with RunningService(config) as service:
        with driving(socket_of(config), "disk") as transport:
            disk = BlkDriver(transport)
            disk.read(0, 1)
            (pid,) = service.children()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: pid not in service.children() and len(service.children()) == 1, "there is a new one")
            assert len(disk.read(0, 1)) == 512
        with driving(socket_of(config), "disk") as transport:
            assert len(BlkDriver(transport).read(0, 1)) == 512


def test_the_end_of_a_service_leaves_nothing(write_config: ConfigWriter) -> None:
    config = write_config("web", "db")
    loaded = load_config(config, images=False)
    with RunningService(config) as service:
        pids = service.children()
        assert all(Path("/dev/shm", loaded.shared_memory(guest)).exists() for guest in loaded.guests)
    assert not list(config.parent.glob("*.pid"))
    assert not any(Path("/dev/shm", loaded.shared_memory(guest)).exists() for guest in loaded.guests)
    assert not any(socket_of(config, guest.name).exists() for guest in loaded.guests)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_second_service_of_the_same_name_is_refused(write_config: ConfigWriter) -> None:
    config = write_config("web")
    with RunningService(config) as service:
        command = [sys.executable, "-m", "ivshmem_virtio", "serve", str(config)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode != 0
        assert len(second.stderr.strip().splitlines()) == 1
        assert second.stderr.startswith("ivshmem-virtio: ")
        service.check_alive()
        with driving(socket_of(config), "disk") as transport:
            assert len(BlkDriver(transport).read(0, 1)) == 512


def test_a_device_that_cannot_be_opened_stops_the_start(write_config: ConfigWriter) -> None:
    config = write_config("web")
    config.write_text(
        config.read_text() + '\n  [[guest.device]]\n  type = "console"\n  via = { socket = "no/such/x.sock" }\n'
    )
    command = [sys.executable, "-m", "ivshmem_virtio", "serve", str(config)]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1
    assert "x.sock" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not Path("/dev/shm", load_config(config, images=False).service.name + ".web").exists()
