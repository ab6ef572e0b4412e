# SPDX-License-Identifier: MIT
"""A server without privileges and with few descriptors: it says so, serves whom it can, and recovers."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .raw_client import RawClient, eventually

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; run the tests as root")

LIMIT = 100
VECTORS = 8
NOBODY = 54321
"""A user of our own: descriptors in flight are counted for each user."""

# Everything is imported as root: where Python is installed, another user may not be able to read it.
AS_NOBODY = f"""
import difflib, encodings.idna, os, resource, stringprep, sys
import ivshmem_virtio.cli.main, ivshmem_virtio.cli.server, ivshmem_virtio.service.log
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
sys.exit(ivshmem_virtio.cli.main.run(sys.argv[1:]))
"""
IN_FLIGHT = f"""
import os, socket, time
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
pairs = [socket.socketpair() for _ in range(2)]
for pair in pairs:
    socket.send_fds(pair[0], [b"x"], [0] * {LIMIT})
print("full", flush=True)
time.sleep(60)
"""


@pytest.fixture
def poor_server(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A server with LIMIT descriptors; what it logs goes to the file ``log``."""
    folder.chmod(0o777)
    arguments = ["server", "-S", f"{folder}/s.sock", "-m", str(folder), "-l", "64K", "-n", str(VECTORS)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", AS_NOBODY, *arguments], stderr=log, text=True)
    try:
        assert eventually(lambda: (folder / "s.sock").exists()), (folder / "log").read_text()
        assert eventually(lambda: "READY" in (folder / "log").read_text())
        yield process
        assert process.poll() is None, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


def handshake(client: RawClient) -> bool:
    """Whether a client gets all its own vectors."""
    (_, _), (own, _) = client.messages(2)
    while (message := client.message()) is not None:
        if message[0] == own:
            return len(client.messages(VECTORS - 1)) == VECTORS - 1
    return False


def test_silent_clients_leave_room_for_others(poor_server: subprocess.Popen[str], folder: Path) -> None:
    silent = [RawClient(folder / "s.sock") for _ in range(6)]
    good = RawClient(folder / "s.sock")
    assert handshake(good)
    for client in (good, *silent):
        client.close()


def test_descriptors_in_flight_elsewhere_only_delay(poor_server: subprocess.Popen[str], folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", IN_FLIGHT], stdout=subprocess.PIPE) as hog:
        assert hog.stdout is not None
        assert hog.stdout.readline() == b"full\n"
        client = RawClient(folder / "s.sock")
        assert [value for value, _ in client.messages(2)] == [0, 0]
        assert client.quiet(0.5), "no descriptor can be passed now"
        hog.kill()
    assert len(client.messages(1 + VECTORS)) == 1 + VECTORS
    client.close()


def test_out_of_descriptors(poor_server: subprocess.Popen[str], folder: Path) -> None:
    clients: list[RawClient] = []
    refused = 0
    log = (folder / "log").read_text
    for _ in range(LIMIT // VECTORS + 5):
        client = RawClient(folder / "s.sock")
        clients.append(client)
        client.socket.settimeout(0.5)
        try:
            refused += client.message() == (-16, None)
        except TimeoutError:
            if "cannot accept" in log():
                break
    assert refused or eventually(lambda: "cannot accept" in log())
    assert eventually(lambda: "Too many open files" in log())
    assert "Traceback" not in log()
    for client in clients:
        client.close()
    assert eventually(lambda: let_in(folder / "s.sock"))


def let_in(path: Path) -> bool:
    """Whether a new client gets through; the server pauses for a second when it has no descriptors."""
    client = RawClient(path)
    try:
        return client.message() == (0, None) and client.message() is not None
    finally:
        client.close()


def test_listening_outlives_the_shortage(folder: Path) -> None:
    """The accept path alone, in a process with no descriptor left for a moment."""
    code = f"""
import asyncio, os, resource, socket, time
from pathlib import Path
from ivshmem_virtio.peer import listener
listener.PAUSE_SECONDS = 0.2
async def run():
    said, accepted = [], asyncio.Event()
    def accept(stream):
        stream.close()
        accepted.set()
    listening = listener.Listener(asyncio.get_running_loop(), Path({str(folder)!r}) / "l", accept, said.append)
    client = socket.socket(socket.AF_UNIX)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, 4096))
    hogs = []
    try:
        while True:
            hogs.append(os.dup(0))
    except OSError:
        pass
    client.connect({str(folder)!r} + "/l")
    began = time.monotonic()
    while len(said) < 3 and time.monotonic() < began + 60:
        await asyncio.sleep(0.1)
    assert 3 <= len(said) <= 2 + (time.monotonic() - began) / listener.PAUSE_SECONDS, said
    assert "cannot accept on" in said[0] and "Too many open files" in said[0], said
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    await asyncio.wait_for(accepted.wait(), 60)
    listening.close()
    listening.close()
asyncio.run(run())
"""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard >= 4096 or hard == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
