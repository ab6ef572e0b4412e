# SPDX-License-Identifier: MIT
"""A service in processes of its own, as a user starts it, and front-ends that join it as guests do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from ivshmem_virtio.transport.driver.attach import choose_link, server_peer
from ivshmem_virtio.transport.driver.transport import DriverTransport, brought_up
from ivshmem_virtio.vm.service import ServiceProcess

PATIENCE = 60.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Fail with ``what`` unless ``condition`` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting until {what}"
        time.sleep(0.02)


class RunningService(ServiceProcess):
    """``ivshmem-virtio serve`` on a configuration: READY when made; must end in order when the context is left."""

    def __init__(self, config: Path, *options: str, name: str = "service") -> None:
        super().__init__(["serve", str(config), *options], config.parent, name)
        self.runtime_dir = config.parent / "run"

    def said(self) -> str:
        """Everything the service has logged so far."""
        return self.log.read_text()

    def children(self) -> list[int]:
        """Process ids of the back-ends, in the order they were started."""
        pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in pids if is_backend(int(pid))]

    @property
    def vault(self) -> int:
        """Process id of the service's vault, whoever started that."""
        (pid,) = [pid for pid in processes_naming(self.runtime_dir) if b"service.vault" in command_line(pid)]
        return pid

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self.stop()
        assert error is not None or status == 0, f"the service ended with status {status}: {self.said()}"


def socket_of(config: Path, guest: str = "web") -> Path:
    """Where a guest of a service finds its ivshmem-server."""
    return config.parent / "run" / f"{guest}.sock"


@contextmanager
def driving(socket: Path, link: str, *, force: bool = False) -> Iterator[DriverTransport]:
    """A driver that has met the back-end of a link, as the guest whose socket this is."""
    with driving_all(socket, link, force=force) as transports:
        yield transports[link]


@contextmanager
def driving_all(socket: Path, *links: str, force: bool = False) -> Iterator[dict[str, DriverTransport]]:
    """Drivers for several links of one guest, by the links' names."""
    with server_peer(socket, PATIENCE) as peer, ExitStack() as stack:
        transports = {}
        for link in links:
            attached = peer.attach(choose_link(peer.links(), link), force=force)
            transports[link] = stack.enter_context(brought_up(attached, peer_id=peer.peer_id, seconds=PATIENCE))
        yield transports


def command_line(pid: int) -> bytes:
    """Of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_backend(pid: int) -> bool:
    return b"service.backend" in command_line(pid)


def processes_naming(path: Path) -> list[int]:
    """Processes with a path below this one among their arguments."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if os.fsencode(path) in command_line(pid)]


def region_mappings(pid: int, region: str) -> list[tuple[int, int]]:
    """Offset and length of every mapping of a /dev/shm object in a process."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        if path and path[0].removesuffix(" (deleted)") == f"/dev/shm/{region}":
            start, end = (int(part, 16) for part in span.split("-"))
            found.append((int(offset, 16), end - start))
    return found


def waits_for_lock(image: Path) -> bool:
    """Whether the kernel knows of somebody who would like to lock this file."""
    found = image.stat()
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino} "
    return any("->" in line and place in line for line in Path("/proc/locks").read_text().splitlines())


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process point to."""
    folder = Path(f"/proc/{pid}/fd")
    found = []
    for entry in folder.iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return found
