# SPDX-License-Identifier: MIT
"""A driver that behaves: asks for random bytes again and again, and notes how long it was ever left waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from ivshmem_virtio.transport.driver.rng import RngDriver
from ivshmem_virtio.transport.driver.transport import DriverTransport

PAUSE_SECONDS = 0.002
"""Between requests: the test's own process has other things to do."""


class SteadyDriver:
    """Runs on a thread; ``longest`` is the longest wait for an answer, seconds."""

    def __init__(self, transport: DriverTransport) -> None:
        self.answers = 0
        self.longest = 0.0
        self.error: BaseException | None = None
        self._device = RngDriver(transport)
        self._over = Event()
        self._thread = Thread(target=self._run, name="steady driver")

    def _run(self) -> None:
        try:
            while not self._over.wait(PAUSE_SECONDS):
                asked = time.monotonic()
                assert len(self._device.read(64)) == 64
                self.longest = max(self.longest, time.monotonic() - asked)
                self.answers += 1
        except BaseException as error:
            self.error = error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Ask while the block runs; raises what went wrong meanwhile."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()
        if self.error is not None:
            raise self.error
