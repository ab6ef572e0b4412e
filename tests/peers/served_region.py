# SPDX-License-Identifier: MIT
"""A real server for a test: on an event loop of its own, or as the installed command in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.memory.region import Region
from ivshmem_virtio.peer.server import IvshmemServer

from .raw_client import PATIENCE, RawClient

T = TypeVar("T")
SIZE = 1 << 20


class ServedRegion:
    """An IvshmemServer on a thread, and clients that are closed with it."""

    def __init__(self, folder: Path, *, outbox_limit: int = 4096) -> None:
        self.folder = folder
        self.region = Region.create_anonymous(SIZE)
        self.links: list[tuple[LinkLayout, int | None]] = []
        self.events: list[tuple[str, int]] = []
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self.loop.run_forever)
        self._thread.start()
        self._clients: list[RawClient] = []
        self.server = self.call(
            lambda: IvshmemServer(
                self.region.memory,
                loop=self.loop,
                links=lambda: self.links,
                on_join=lambda peer: self.events.append(("join", peer)),
                on_leave=lambda peer: self.events.append(("leave", peer)),
                outbox_limit=outbox_limit,
            )
        )

    def call(self, function: Callable[[], T]) -> T:
        """Run something on the server's loop."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return future.result(PATIENCE)

    def guest(self, name: str, peer_id: int, vectors: int) -> Path:
        """A guest socket."""
        path = self.folder / f"{name}.sock"
        self.call(lambda: self.server.add_guest(name, path, peer_id, vectors))
        return path

    def open_socket(self, vectors: int) -> Path:
        """An open socket."""
        path = self.folder / "open.sock"
        self.call(lambda: self.server.add_open_socket(path, vectors))
        return path

    def local(self, peer_id: int, vectors: int) -> list[int]:
        """A local peer; its eventfds."""
        return self.call(lambda: self.server.add_local_peer(peer_id, vectors))

    def connect(self, path: Path) -> RawClient:
        """A client."""
        client = RawClient(path)
        self._clients.append(client)
        return client

    def present(self, peer_id: int) -> bool:
        """Whether the server knows a peer as present."""
        return self.call(lambda: self.server.present(peer_id))

    def close(self) -> None:
        """Everything away."""
        for client in self._clients:
            client.close()
        self.call(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.region.close()


class ServerProcess:
    """``ivshmem-virtio server`` as a process."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.pid_file = folder / "server.pid"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ivshmem_virtio", "server", "--pidfile", str(self.pid_file), *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_ready(self) -> None:
        """Until clients may connect."""
        deadline = time.monotonic() + 60
        while not self.pid_file.exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self, *, kill: bool = False) -> tuple[int, str]:
        """Its exit status and all it said."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        _, text = self.process.communicate(timeout=60)
        return self.process.returncode, text

    def close(self) -> None:
        """Whatever state it is in."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


logging.getLogger("ivshmem_virtio").setLevel(logging.INFO)
