# SPDX-License-Identifier: MIT
"""Where things run: the load on one processor, whatever is measured on another."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ivshmem_virtio.bench.errors import BenchError, TooFewProcessors
from ivshmem_virtio.bench.generator import CacheLine

ROUNDS = 20_000


@dataclass(frozen=True)
class Processors:
    """Numbers as the kernel has them."""

    load: int
    device: int

    @classmethod
    def choose(cls) -> Processors:
        """The last two this process may use, for the first ones serve most interrupts. Raises TooFewProcessors."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise TooFewProcessors("only one processor may be used here: load and device need one each")
        return cls(load=allowed[-1], device=allowed[-2])

    def pinned(self) -> list[str]:
        """Prefix of a command that is to run on the device's processor."""
        return ["taskset", "-c", str(self.device)]

    @contextmanager
    def loading(self) -> Iterator[None]:
        """The calling thread runs on the load's processor meanwhile."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.load})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def round_trip(self) -> float:
        """Nanoseconds for a cache line to the other processor and back, at this moment.

        On a virtual machine this changes by a factor of four and more while nothing happens inside, and every figure of
        two processes changes with it.
        """
        line = CacheLine()

        def answer() -> None:
            os.sched_setaffinity(0, {self.device})
            line.answer(ROUNDS)

        thread = threading.Thread(target=answer, name="cache-line")
        with self.loading():
            thread.start()
            try:
                return line.ask(ROUNDS)
            except ValueError as error:
                raise BenchError(f"processors {self.load} and {self.device}: {error}") from error
            finally:
                thread.join()
