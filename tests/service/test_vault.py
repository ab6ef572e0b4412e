# SPDX-License-Identifier: MIT
"""The vault process by itself: who may store, who may take, when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import pytest

from ivshmem_virtio.service.channel import Channel
from ivshmem_virtio.service.descriptor_store import StoreLost
from ivshmem_virtio.service.vault_client import VaultClient
from ivshmem_virtio.service.vault_protocol import VAULT_VERSION

from .running_service import command_line, processes_naming, wait_until

MANY = 200


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a vault may listen; none outlives the test."""
    yield tmp_path / "test.vault"
    for pid in processes_naming(tmp_path):
        os.kill(pid, signal.SIGKILL)


def memory(content: bytes) -> int:
    number = os.memfd_create("test")
    os.write(number, content)
    return number


def visitor(place: Path) -> VaultClient:
    client = VaultClient.connect(place)
    assert client is not None
    return client


def stranger(place: Path) -> Channel:
    """Somebody who does not keep to what a VaultClient does."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stream.settimeout(30)
    stream.connect(str(place))
    return Channel(stream, VAULT_VERSION)


def contents(client: VaultClient) -> tuple[int | None, dict[str, bytes]]:
    """Who keeps it, and what is in it."""
    found = client.look()
    read = {name: os.pread(number, 64, 0) for name, number in found.files.items()}
    keeper = found.keeper
    found.close()
    return keeper, read


def seen_from_outside(place: Path) -> dict[str, bytes]:
    with closing(visitor(place)) as client:
        return contents(client)[1]


def test_many_files_are_kept_for_whoever_comes_next(place: Path) -> None:
    keeper = VaultClient.start(place)
    files = {f"file/{number}": memory(b"%d" % number) for number in range(MANY)}
    keeper.put(files)
    keeper.drop(["file/0", "file/unknown"])
    for number in files.values():
        os.close(number)
    expected = {f"file/{number}": b"%d" % number for number in range(1, MANY)}
    looking = visitor(place)
    assert contents(looking) == (os.getpid(), expected)
    keeper.close()
    wait_until(lambda: contents(looking) == (None, expected), "it is known to be gone")
    assert looking.take(30)
    assert contents(looking) == (os.getpid(), expected)
    looking.end()
    assert not place.exists()
    assert not processes_naming(place)


def test_only_the_keeper_stores_drops_and_ends(place: Path) -> None:
    keeper = VaultClient.start(place)
    number = memory(b"keeper's")
    keeper.put({"file": number})
    for kind in ("put", "drop", "end", "nonsense"):
        other = stranger(place)
        other.send(kind, {"names": ["file"]}, [memory(b"stranger's")] if kind == "put" else [])
        assert other.receive() is None, "it is shown the door"
        other.close()
    nonsense = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nonsense.settimeout(30)
    nonsense.connect(str(place))
    nonsense.send(b"\xff{[")
    assert nonsense.recv(16) == b""
    nonsense.close()
    assert seen_from_outside(place) == {"file": b"keeper's"}
    keeper.end()
    os.close(number)


LOOK = """
import sys
from pathlib import Path
from ivshmem_virtio.service.vault_client import VaultClient
sys.stdin.readline()
print(len(VaultClient.connect(Path(sys.argv[1])).look().files))
"""


@pytest.mark.parametrize("watched", [False, True])
def test_a_process_that_is_watched_over_is_shown_nothing(place: Path, watched: bool) -> None:
    keeper = VaultClient.start(place)
    number = memory(b"another guest's region")
    keeper.put({"file": number})
    command = [sys.executable, "-c", LOOK, str(place)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as backend:
        pidfd = os.pidfd_open(backend.pid)
        if watched:
            keeper.put({"pidfd": pidfd})
        said, complained = backend.communicate("now\n", timeout=60)
    assert said.strip() == ("" if watched else "1")
    assert ("StoreLost" in complained) is watched
    keeper.end()
    os.close(pidfd)
    os.close(number)


def test_one_keeper_at_a_time_in_the_order_of_asking(place: Path) -> None:
    first = VaultClient.start(place)
    first.put({})
    second, third = visitor(place), visitor(place)
    assert not second.take(0.2)
    second.close()
    assert not third.take(0.2)
    first.close()
    # It has asked before, and is not forgotten.
    assert third.granted(30)
    number = memory(b"third's")
    third.put({"file": number})
    assert seen_from_outside(place) == {"file": b"third's"}
    os.close(number)
    third.end()


def test_an_interrupt_at_the_terminal_does_not_reach_it(place: Path) -> None:
    keeper = VaultClient.start(place)
    keeper.put({})
    (pid,) = processes_naming(place)
    assert os.getsid(pid) != os.getsid(0)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGHUP)
    keeper.put({})
    keeper.end()


def test_a_vault_that_dies_is_noticed_and_its_socket_replaced(place: Path) -> None:
    keeper = VaultClient.start(place)
    keeper.put({})
    (pid,) = processes_naming(place)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not command_line(pid), "it is dead")
    with pytest.raises(StoreLost):
        keeper.put({"file": 0})
    keeper.close()
    assert VaultClient.connect(place) is None
    VaultClient.start(place).end()
    assert not place.exists()
