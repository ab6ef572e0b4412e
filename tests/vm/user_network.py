# SPDX-License-Identifier: MIT
"""QEMU's own user-mode network behind a stream socket: a TCP that answers again what it has answered before.

passt of 2023 does not: where the last acknowledgement is lost with a back-end, a guest that sends waits for ever.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.vm.accelerator import QEMU
from ivshmem_virtio.vm.parting import ends_with_us

START_SECONDS = 20.0


class UserNetwork:
    """One process, one client at a time. ``gateway`` stands for the host's loopback."""

    network = "10.0.3.0/24"
    address = "10.0.3.15/24"
    gateway = "10.0.3.2"

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        stream = f"stream,id=stream,server=on,addr.type=unix,addr.path={socket}"
        hub = ["-netdev", "hubport,hubid=0,id=a,netdev=user", "-netdev", "hubport,hubid=0,id=b,netdev=stream"]
        self._process = subprocess.Popen(
            [
                *[*ends_with_us("KILL"), QEMU, "-M", "none", "-nodefaults", "-no-user-config", "-display", "none"],
                *["-netdev", f"user,id=user,net={self.network}", "-netdev", stream, *hub],
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_SECONDS
        while not self._socket.exists():
            assert self._process.poll() is None, "QEMU ended at once"
            assert time.monotonic() < deadline, f"nobody listens at {self._socket}"
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
