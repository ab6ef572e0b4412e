# SPDX-License-Identifier: MIT
"""Consoles whose back-end is killed: not a byte of output is lost, or shown twice, and ports stay what they were."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ivshmem_virtio.devices.console_control import MESSAGE, Event
from ivshmem_virtio.service import backend_process
from ivshmem_virtio.transport.driver.console import ConsoleDriver
from ivshmem_virtio.transport.driver.transport import DriverTransport
from tests.figures import Figures
from tests.number_stream import check_numbers, numbers

from .kept_service import KeptService, kept_service
from .running_service import driving, wait_until

MULTIPORT = 1 << 1
CONSOLE = """[service]
name = "{name}"
runtime_dir = "run"
[[guest]]
name = "web"
region = "16M"
vectors = 16
  [[guest.device]]
  type = "console"
  name = "serial"
  via = {{ file = "console.log" }}
  window = "2M"
{ports}
"""
PORTS = '  ports = [{ name = "first", via = { file = "first.log" } }, { name = "second", via = { socket = "second" } }]'


def write_config(folder: Path, ports: str = "") -> Path:
    config = folder / "service.toml"
    config.write_text(CONSOLE.format(name=f"test-{secrets.token_hex(4)}", ports=ports))
    return config


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-ends that are killed young are not what these tests are about."""
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0)


def kill(service: KeptService) -> None:
    """One back-end; returns when there is another process."""
    pid = service.backend("web")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: service.backend("web") != pid, "there is another")


def kill_now_and_then(service: KeptService, kills: int, chance: random.Random) -> None:
    for _ in range(kills):
        time.sleep(chance.uniform(0.1, 0.7))
        kill(service)


@pytest.mark.parametrize(
    "kills", [15, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])], ids="{} kills".format
)
def test_every_byte_arrives_in_its_order(kills: int, tmp_path: Path, figures: Figures) -> None:
    config = write_config(tmp_path)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with (
        kept_service(config) as service,
        driving(tmp_path / "run" / "web.sock", "serial") as transport,
        ThreadPoolExecutor(1) as thread,
    ):
        console = ConsoleDriver(transport)
        killing = thread.submit(kill_now_and_then, service, kills, random.Random(seed))
        sent = 0
        while not killing.done():
            for _ in range(20):
                console.transmitq.submit([numbers(sent, 50)], [])
                sent += 50
            console.transmitq.kick()
            while console.transmitq.outstanding:
                transport.wait(console.transmitq)
        killing.result()
        log = tmp_path / "console.log"
        wait_until(lambda: log.read_bytes().endswith(numbers(sent - 1, 1)), "the last line is there")
    found = check_numbers(log.read_bytes())
    figures(
        "console, driver in user space",
        kills=kills,
        requests=sent // 50,
        lost=found.lost,
        twice=found.repeated,
        errors=0,
    )
    assert found.lost == 0
    assert found.repeated == 0


def test_what_the_host_has_not_taken_yet_outlives_the_backend(tmp_path: Path) -> None:
    """A console that nobody is connected to keeps its output, and shows it after the kill."""
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace('file = "console.log"', 'socket = "console"'))
    with kept_service(config) as service, driving(tmp_path / "run" / "web.sock", "serial") as transport:
        console = ConsoleDriver(transport)
        console.send(numbers(0, 100))
        kill(service)
        console.send(numbers(100, 100))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(30)
            wait_until(lambda: client.connect_ex(os.fspath(tmp_path / "console")) == 0, "it listens")
            got = b""
            while not got.endswith(numbers(199, 1)):
                got += client.recv(4096)
    assert got == numbers(0, 200)


class Ports:
    """A driver of a console with two ports, as far as its control queues are concerned."""

    def __init__(self, transport: DriverTransport) -> None:
        self.transport = transport
        transport.negotiate(MULTIPORT)
        self.queues = [transport.setup_queue(index) for index in range(8)]
        transport.ready()
        for _ in range(20):
            self.queues[2].submit([], [64])
        self.queues[2].kick()

    def say(self, port: int, event: Event, value: int = 1) -> None:
        request = self.queues[3].submit([MESSAGE.pack(port, event, value)], [])
        self.transport.complete(self.queues[3], request)

    def hear(self, count: int) -> list[tuple[int, int, int]]:
        """The next messages about ports."""
        heard: list[tuple[int, int, int]] = []
        while len(heard) < count:
            for request in self.transport.wait(self.queues[2]):
                heard.append(MESSAGE.unpack_from(request.data))
                self.queues[2].submit([], [64])
            self.queues[2].kick()
        return heard

    def come_up(self) -> None:
        self.say(0, Event.DEVICE_READY)
        assert [port for port, event, _ in self.hear(3) if event == Event.DEVICE_ADD] == [0, 1, 2]
        for port in range(3):
            self.say(port, Event.PORT_READY)
        self.hear(4)  # console, name and open of the file, name of the socket

    def write(self, port: int, data: bytes) -> None:
        queue = self.queues[2 * port + 3]
        self.transport.complete(queue, queue.submit([data], []))


def test_ports_stay_what_they_were(tmp_path: Path) -> None:
    with (
        kept_service(write_config(tmp_path, PORTS)) as service,
        driving(tmp_path / "run" / "web.sock", "serial") as transport,
    ):
        driver = Ports(transport)
        driver.come_up()
        driver.say(1, Event.PORT_OPEN)
        driver.say(2, Event.PORT_OPEN)
        driver.write(1, b"before ")
        epoch = transport.backend.epoch
        for _ in range(3):
            kill(service)
            driver.write(1, b"and ")
            heard = driver.hear(4)
            assert {event for _, event, _ in heard} == {Event.CONSOLE_PORT, Event.PORT_NAME, Event.PORT_OPEN}
            assert (1, Event.PORT_OPEN, 1) in heard
        driver.write(1, b"after")
        assert transport.backend.epoch == epoch
        assert (tmp_path / "first.log").read_bytes() == b"before and and and after"
        # The socket is open on the guest's side still: what the host sends gets through.
        driver.queues[6].submit([], [64])
        driver.queues[6].kick()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(os.fspath(tmp_path / "second"))
            assert driver.hear(1) == [(2, Event.PORT_OPEN, 1)]
            client.sendall(b"hello")
            (request,) = transport.wait(driver.queues[6])
            assert request.data == b"hello"
            driver.write(2, b"back")
            client.settimeout(30)
            assert client.recv(10) == b"back"


def test_a_driver_that_was_reset_meanwhile_starts_from_nothing(tmp_path: Path) -> None:
    with (
        kept_service(write_config(tmp_path, PORTS)) as service,
        driving(tmp_path / "run" / "web.sock", "serial") as transport,
    ):
        Ports(transport).come_up()
        kill(service)
        transport.reset()
        transport.bring_up()
        again = Ports(transport)
        again.come_up()
        again.say(1, Event.PORT_OPEN)
        again.write(1, struct.pack("<I", 7))
        assert (tmp_path / "first.log").read_bytes() == struct.pack("<I", 7)
