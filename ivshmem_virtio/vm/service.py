# SPDX-License-Identifier: MIT
"""Runs one of this program's own long-lived commands beside the guests, and waits until it says that it is ready."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.vm.errors import ServiceFailed
from ivshmem_virtio.vm.parting import ends_with_us

_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0


class ServiceProcess:
    """``ivshmem-virtio COMMAND ... --pidfile F`` as a child. Use as a context manager, or call stop.

    It does not outlive the thread that started it.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, name: str = "service") -> None:
        """Start it, with ``<name>.log`` and ``<name>.pid`` in ``folder``, and wait until it is ready.

        Raises ServiceFailed with the last line it wrote.
        """
        self.log = folder / f"{name}.log"
        self._pidfile = folder / f"{name}.pid"
        self._pidfile.unlink(missing_ok=True)
        command = [
            *ends_with_us("TERM"),
            sys.executable,
            "-m",
            "ivshmem_virtio",
            *arguments,
            "--pidfile",
            str(self._pidfile),
        ]
        with self.log.open("ab") as log:
            # A process group of its own: an interrupt at the terminal is for us to pass on, when the guests have ended.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._what = arguments[0]
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check_alive(self) -> None:
        """Raise ServiceFailed when it has ended."""
        status = self._process.poll()
        if status is not None:
            raise ServiceFailed(f"{self._what} ended with status {status}: {self._last_words()} (log: {self.log})")

    def reload(self) -> None:
        """Have it read its configuration again (SIGHUP)."""
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it in order (SIGTERM), by force when that takes too long; returns its exit status. Idempotent."""
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self._pidfile.exists():
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self._what} was not ready within {_READY_SECONDS:.0f} s (log: {self.log})")
            time.sleep(0.02)

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("ivshmem-virtio: ") if lines else "no message"
