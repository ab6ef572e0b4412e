# SPDX-License-Identifier: MIT
"""A program to compare with, as a process of its own that never outlives us."""

from __future__ import annotations

import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.bench.errors import PeerNotReady
from ivshmem_virtio.vm.parting import ends_with_us

READY_SECONDS = 20.0


class Child:
    """Started when made; killed at the end, because some daemons hang when asked to end while a client is connected."""

    def __init__(
        self, command: Sequence[str], log: Path, ready: Callable[[], bool], *, descriptors: Sequence[int] = ()
    ) -> None:
        """Waits until ``ready()``; raises PeerNotReady with the last line the program wrote."""
        self.command = shlex.join(command)
        """As it can be typed."""
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*ends_with_us("KILL"), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
            )
        try:
            self._await(ready)
        except BaseException:
            self.close()
            raise

    def _await(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PeerNotReady(f"{self.command}: {self._last_words()} (log: {self._log})")
            time.sleep(0.005)

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else f"not ready within {READY_SECONDS:g} s"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def stand_still(self) -> None:
        """Take it off its processor, for a program that spins even with nothing to do."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it at once. May be called twice."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
