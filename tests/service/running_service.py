# SPDX-License-Identifier: MIT
"""A service in processes of its own, as a user starts it, and front-ends that join it as guests do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.transport.driver import DriverTransport
from ivshmem_virtio.transport.driver_attach import choose_link, frontend_peer

PATIENCE = 30.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Fail with ``what`` unless ``condition`` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting until {what}"
        time.sleep(0.02)


class RunningService:
    """``ivshmem-virtio serve`` on a configuration; READY when the context is entered, ended when it is left."""

    def __init__(self, config: Path, *options: str) -> None:
        self.config = config
        self.pidfile = config.with_suffix(".pid")
        self.log = config.with_suffix(".log")
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "ivshmem_virtio", "serve", str(self.config), "--pidfile", str(self.pidfile)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, *self._options], stdin=subprocess.DEVNULL, stderr=log)
        wait_until(lambda: self.pidfile.exists() or not self.alive, "the service is ready")
        assert self.alive, self.said()

    @property
    def alive(self) -> bool:
        assert self.process is not None
        return self.process.poll() is None

    def said(self) -> str:
        """Everything the service has logged so far."""
        return self.log.read_text()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def children(self) -> list[int]:
        """Process ids of the back-ends, in the order they were started."""
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def stop(self) -> int:
        assert self.process is not None
        if self.alive:
            self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stop() != 0 and error is None:
            raise AssertionError(f"the service ended with status {self.process and self.process.returncode}")


@contextmanager
def driving(socket: Path, link: str, *, force: bool = False) -> Iterator[DriverTransport]:
    """A driver that has met the back-end of a link, as the guest whose socket this is."""
    with frontend_peer(socket, PATIENCE) as peer:
        attached = peer.attach(choose_link(peer.links(), link), force=force)
        transport = DriverTransport(attached, peer_id=peer.client.peer_id, seconds=PATIENCE)
        try:
            transport.bring_up(PATIENCE)
            yield transport
        finally:
            transport.close()
            attached.close()


def region_mappings(pid: int, region: str) -> list[tuple[int, int]]:
    """Offset and length of every mapping of a /dev/shm object in a process."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        if path and path[0].removesuffix(" (deleted)") == f"/dev/shm/{region}":
            start, end = (int(part, 16) for part in span.split("-"))
            found.append((int(offset, 16), end - start))
    return found


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
