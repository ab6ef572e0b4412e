# SPDX-License-Identifier: MIT
"""``ivshmem-virtio serve`` as a process of its own, from READY to SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 60.0


class RunningService:
    """A service of one configuration file. Its log is in ``service.log`` beside that file."""

    def __init__(self, config_file: Path, *options: str) -> None:
        self.log_file = config_file.with_name("service.log")
        self.pid_file = config_file.with_name("service.pid")
        command = [sys.executable, "-m", "ivshmem_virtio", "serve", str(config_file), "--pidfile", str(self.pid_file)]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([*command, *options], stdout=log, stderr=subprocess.STDOUT)
        self._await_ready()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.pid_file.exists():
            assert self.process.poll() is None, f"the service ended: {self.log()}"
            assert time.monotonic() < deadline, f"the service did not become ready: {self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self) -> int:
        """Tell it to end and wait; returns its exit status."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(START_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
