# SPDX-License-Identifier: MIT
"""``ivshmem-virtio server`` as a process: readiness, signals, what it leaves behind, what it refuses to do."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ivshmem_virtio.link.directory import DirectoryWriter
from ivshmem_virtio.link.layout import PAGE_SIZE, FrontendLine, Header, LinkLayout
from ivshmem_virtio.memory.region import Region
from ivshmem_virtio.peer.client import IvshmemClient

from .raw_client import eventually, readable
from .served_region import ServerProcess

Start = Callable[..., ServerProcess]


def shm(name: str) -> Path:
    return Path("/dev/shm") / name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ready_then_a_clean_end(server_process: Start, folder: Path, shm_name: str, number: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(folder / "notify"))
        notify.settimeout(60)
        os.environ["NOTIFY_SOCKET"] = str(folder / "notify")
        try:
            server = server_process("--guest", f"web={folder}/web.sock,id=3,vectors=2", "-M", shm_name, "--mode", "640")
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert notify.recv(100).startswith(b"READY=1")
    assert server.pid_file.read_text() == f"{server.process.pid}\n"
    assert (shm(shm_name).stat().st_size, stat.S_IMODE(shm(shm_name).stat().st_mode)) == (4 << 20, 0o640)
    assert stat.S_IMODE((folder / "web.sock").stat().st_mode) == 0o640
    with IvshmemClient.attach(folder / "web.sock", vectors=2) as client:
        assert client.peer_id == 3
        server.process.send_signal(number)
        _, text = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, text
    assert "Traceback" not in text
    assert sorted(path.name for path in folder.iterdir()) == ["notify"]
    assert not shm(shm_name).exists()


def test_killed_server_leaves_nothing_in_the_way(server_process: Start, folder: Path, shm_name: str) -> None:
    arguments = ("--guest", f"web={folder}/web.sock", "-M", shm_name)
    first = server_process(*arguments)
    first.end(kill=True)
    assert shm(shm_name).exists()
    first.pid_file.unlink()
    server_process(*arguments)
    with IvshmemClient.attach(folder / "web.sock", vectors=1) as client:
        assert client.peer_id == 0


def test_keep(server_process: Start, folder: Path, shm_name: str) -> None:
    arguments = ("-S", f"{folder}/s.sock", "-M", shm_name, "-l", "64K", "--keep")
    server_process(*arguments).end()
    assert shm(shm_name).exists()
    with Region.open(shm_name) as region:
        region.write(100, b"kept")
    server_process(*arguments)
    with IvshmemClient.attach(folder / "s.sock", vectors=1) as client:
        assert os.pread(client.memory, 4, 100) == b"kept"


def test_folder_instead_of_a_name(server_process: Start, folder: Path) -> None:
    (folder / "files").mkdir()
    server_process("-S", f"{folder}/s.sock", "-m", str(folder / "files"), "-l", "64K")
    assert list((folder / "files").iterdir()) == []
    with IvshmemClient.attach(folder / "s.sock", vectors=1) as client:
        assert client.memory_size == 65536


def test_links_of_an_attached_backend_are_buried(server_process: Start, folder: Path, shm_name: str) -> None:
    """The directory is written by a client here, as by `attach`; the server reads it only when somebody leaves."""
    server_process("-S", f"{folder}/s.sock", "--guest", f"web={folder}/web.sock,id=8", "-M", shm_name, "-n", "2")
    with IvshmemClient.attach(folder / "s.sock", vectors=2) as backend:
        link = LinkLayout("a", 2, 2 * PAGE_SIZE, 0x10000, 0, 2, 1, 1, backend.peer_id)
        guest = IvshmemClient.attach(folder / "web.sock", vectors=2)
        DirectoryWriter(backend.memory, backend.memory_size).set_up([link])
        os.pwrite(backend.memory, (8).to_bytes(2, "little"), link.window_offset + Header.EXT_OFFSET)
        claim = link.window_offset + 9 * 64 + FrontendLine.PEER_PLUS_ONE
        os.pwrite(backend.memory, (guest.peer_id + 1).to_bytes(4, "little"), claim)
        os.pwrite(backend.memory, b"\1\0\0\0" * 2, link.offset)
        guest.close()
        assert readable(backend.own_vectors[1])
        assert os.pread(backend.memory, 8, link.offset) == b"\1\0\0\0" + bytes(4)
        guest = IvshmemClient.attach(folder / "web.sock", vectors=2)
        backend.close()
        assert readable(guest.own_vectors[0])
        assert os.pread(guest.memory, 4, link.offset) == bytes(4)
        guest.close()


REFUSED = [
    ("nothing to listen on", [], 1, "nothing to listen on"),
    ("size", ["-S", "s", "-l", "3M"], 1, "next is 4194304"),
    ("size of one page", ["-S", "s", "-l", "2K"], 1, "at least 4096"),
    ("size in letters", ["-S", "s", "-l", "big"], 2, "'big' is no size"),
    ("too large", ["-S", "s", "-l", "4096G"], 1, "no room for a region"),
    ("vectors", ["-S", "s", "-n", "0"], 1, "0 vectors: must be 1 to 2048"),
    ("guest without a path", ["--guest", "web"], 2, "'web' is not NAME=PATH"),
    ("guest with an unknown key", ["--guest", "web=s,cpu=1"], 2, "only id=N and vectors=N"),
    ("ids twice", ["--guest", "a=s,id=1", "--guest", "b=t,id=1"], 1, "peer id 1 is taken"),
    ("id too large", ["--guest", "a=s,id=70000"], 1, "peer id 70000: must be 0 to 65535"),
    ("shm name", ["-S", "s", "-M", "a/b"], 1, "no name for shared memory"),
    ("owner", ["-S", "s", "--owner", "nobody-of-that-name"], 1, "no user 'nobody-of-that-name'"),
    ("mode", ["-S", "s", "--mode", "rw"], 2, "no octal mode"),
    ("pid file", ["-S", "s", "-p", "missing/pid"], 1, "missing"),
    ("folder", ["-S", "s", "-m", "missing"], 2, "missing"),
]


@pytest.mark.parametrize(("what", "arguments", "status", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refusals_are_one_line(
    folder: Path, shm_name: str, what: str, arguments: list[str], status: int, says: str
) -> None:
    name = [] if "-M" in arguments else ["-M", shm_name]
    done = subprocess.run(
        [sys.executable, "-m", "ivshmem_virtio", "server", *name, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not shm(shm_name).exists()
    assert list(folder.iterdir()) == []


def test_help_explains_every_option() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ivshmem_virtio", "server", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--socket", "--guest", "--shm-name", "--size", "--vectors", "--pidfile", "--keep", "--owner"):
        assert option in done.stdout


def test_name_in_use(server_process: Start, folder: Path, shm_name: str) -> None:
    server_process("-S", f"{folder}/a.sock", "-M", shm_name)
    second = server_process("-S", f"{folder}/b.sock", "-M", shm_name, wait=False)
    _, text = second.process.communicate(timeout=60)
    assert second.process.returncode == 1
    assert "is kept by a running process" in text
    assert eventually(lambda: shm(shm_name).exists())
