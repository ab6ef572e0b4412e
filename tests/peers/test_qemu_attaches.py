# SPDX-License-Identifier: MIT
"""A real QEMU as client of our server, and our client beside it. No guest runs: realizing the device is enough."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.peer.client import IvshmemClient

from .raw_client import eventually
from .served_region import ServedRegion, ServerProcess

QEMU = shutil.which("qemu-system-x86_64")
pytestmark = pytest.mark.skipif(QEMU is None, reason="needs qemu-system-x86_64 (Debian: qemu-system-x86)")
VECTORS = 4


def qemu(path: Path, vectors: int = VECTORS) -> subprocess.Popen[str]:
    """A stopped machine with one ivshmem-doorbell."""
    assert QEMU is not None
    machine = ["-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg", "-m", "64", "-S"]
    chardev = ["-chardev", f"socket,id=iv,path={path}"]
    device = ["-device", f"ivshmem-doorbell,chardev=iv,vectors={vectors}"]
    return subprocess.Popen([QEMU, *machine, *chardev, *device], stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> str:
    process.terminate()
    return process.communicate(timeout=60)[1]


@pytest.fixture
def machines() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts QEMUs, and ends what a test leaves."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, vectors: int = VECTORS) -> subprocess.Popen[str]:
        started.append(qemu(path, vectors))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


Machines = Callable[..., subprocess.Popen[str]]


def test_qemu_comes_back_as_the_same_peer(served: ServedRegion, machines: Machines) -> None:
    path = served.guest("web", 5, VECTORS)
    eventfds = list(served.local(0, VECTORS))
    guest_eventfds = served.call(lambda: served.server.doorbells(5))
    for kill in (False, True):
        machine = machines(path)
        assert eventually(lambda: served.present(5)), machine.poll()
        if kill:
            machine.kill()
            machine.communicate()
        else:
            assert "ivshmem" not in end(machine)
        assert eventually(lambda: not served.present(5))
    assert served.events == [("join", 0), *[("join", 5), ("leave", 5)] * 2]
    assert served.call(lambda: served.server.doorbells(5)) == guest_eventfds
    assert served.call(lambda: served.server.doorbells(0)) == eventfds


def test_second_qemu_on_a_guest_socket_ends_at_once(served: ServedRegion, machines: Machines) -> None:
    path = served.guest("web", 5, VECTORS)
    first = machines(path)
    assert eventually(lambda: served.present(5))
    second = machines(path)
    _, text = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "server sent version -16" in text
    assert first.poll() is None
    assert served.present(5)


def test_two_qemus_and_our_client_on_an_open_socket(
    server_process: Callable[..., ServerProcess], folder: Path, shm_name: str, machines: Machines
) -> None:
    path = folder / "open.sock"
    server_process("-S", str(path), "-M", shm_name, "-l", "1M", "-n", str(VECTORS))
    with IvshmemClient.attach(path, vectors=VECTORS) as client:
        first, _ = machines(path), machines(path)
        for peer in (1, 2):
            client.wait_for_peer(peer, 60, vectors=VECTORS)
        end(first)
        assert eventually(lambda: len(peers_now(client)) == 1)
        machines(path)
        client.wait_for_peer(3, 60, vectors=VECTORS)


def peers_now(client: IvshmemClient) -> list[int]:
    client.poll()
    return client.peers


def test_qemu_with_fewer_vectors_than_the_server_gives_still_starts(served: ServedRegion, machines: Machines) -> None:
    path = served.guest("web", 5, VECTORS)
    machine = machines(path, 1)
    assert eventually(lambda: served.present(5))
    assert machine.poll() is None
