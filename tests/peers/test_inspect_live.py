# SPDX-License-Identifier: MIT
"""The inspector beside a running service and a real driver: waiting, working, and stopped in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.transport.driver.attach import choose_link, server_peer
from ivshmem_virtio.transport.driver.rng import RngDriver
from ivshmem_virtio.transport.driver.transport import DriverTransport
from tests.peers.running_service import RunningService
from tests.unit.service_file import ServiceFile

SECONDS = 60.0
RNG = 2


@pytest.fixture
def file(tmp_path: Path) -> ServiceFile:
    made = ServiceFile(tmp_path)
    made.replace('  [[guest.device]]\n  type = "net"\n  name = "uplink"\n  via = { stream = "passt.sock" }\n\n', "")
    return made


@pytest.fixture
def service(file: ServiceFile) -> Iterator[RunningService]:
    with RunningService(file.path) as running:
        yield running


def inspect(file: ServiceFile, observe: float = 1.2) -> dict[str, Any]:
    """The only guest, as the command prints it."""
    command = [sys.executable, "-m", "ivshmem_virtio", "inspect", str(file.path), "--json", "--observe", str(observe)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    guest: dict[str, Any] = json.loads(done.stdout)["guests"][0]
    return guest


def stand_still(process: int) -> None:
    """Stop a process, and wait until each of its threads has stopped: the signal alone promises no moment."""
    os.kill(process, signal.SIGSTOP)
    deadline = time.monotonic() + SECONDS
    while any(state(thread) != "T" for thread in Path(f"/proc/{process}/task").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(thread: Path) -> str:
    """The letter of proc(5): what follows the name in parentheses."""
    return (thread / "stat").read_text().rpartition(") ")[2][0]


def texts(link: dict[str, Any]) -> list[str]:
    return [f"{finding['who']}: {finding['text']}" for finding in link["findings"]]


def test_a_service_that_waits_for_its_guest(file: ServiceFile, service: RunningService) -> None:
    guest = inspect(file)
    assert guest["directory"]["problems"] == []
    assert [entry["differences"] for entry in guest["directory"]["entries"]] == [[], [], []]
    assert guest["findings"] == []
    assert guest["status_files"][0]["alive"]
    for link in guest["links"]:
        assert texts(link) == [
            "front-end: absent: the back-end waits for a driver (guest not started, or module not loaded)"
        ]
        assert link["header_problem"] is None
        assert {"VERSION_1", "ACCESS_PLATFORM"} <= set(link["features"]["offered"])


def test_a_device_at_work_and_a_back_end_that_stands_still(file: ServiceFile, service: RunningService) -> None:
    socket = load_config(file.path).guests[0].socket
    with server_peer(socket, SECONDS) as peer:
        layout = choose_link(peer.links(), "rng")
        link = peer.attach(layout)
        transport = DriverTransport(link, peer_id=peer.peer_id, seconds=SECONDS)
        try:
            transport.bring_up()
            driver = RngDriver(transport)
            assert len(driver.read(1000)) == 1000
            at_work = inspect(file, 0)["links"][RNG]
            assert texts(at_work) == ["nobody: both sides are up and nothing is due"]
            assert at_work["features"]["complete"]
            assert "VERSION_1" in at_work["features"]["accepted"]
            queue = at_work["queues"][0]
            assert queue["place"]["source"] == "status file"
            assert queue["indices"]["available"] == queue["indices"]["used"] > 0
            backend = inspect(file, 0)["status_files"][0]["pid"]
            stand_still(backend)
            try:
                request = driver.queue.submit([], [64])
                driver.queue.kick()
                link.window.store32(Header.QUEUE_SEL, 0)
                link.window.store32(Header.WRITE_TRANSACTION, 4 << 16 | Header.QUEUE_SEL)
                stopped = inspect(file)["links"][RNG]
            finally:
                os.kill(backend, signal.SIGCONT)
            assert any(text.startswith("back-end: its heartbeat stands still") for text in texts(stopped))
            assert "back-end: owes the answer to a write of queue_sel" in texts(stopped)
            assert any(text.startswith("back-end: queue 0 (request): owes 1 answers") for text in texts(stopped))
            transport.complete(driver.queue, request)
            assert texts(inspect(file, 0)["links"][RNG]) == ["nobody: both sides are up and nothing is due"]
        finally:
            transport.close()
            link.close()
    assert "front-end: absent" in texts(inspect(file, 0)["links"][RNG])[0]


def test_a_service_that_ended_leaves_nothing_to_look_at(file: ServiceFile, service: RunningService) -> None:
    assert service.stop() == 0
    command = [sys.executable, "-m", "ivshmem_virtio", "inspect", str(file.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"there is no region /dev/shm/{file.name}.web" in line
