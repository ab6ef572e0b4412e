# SPDX-License-Identifier: MIT
"""A block device with one queue up, ready for the load: the same whoever serves it."""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio.bench.errors import RequestsFailed
from ivshmem_virtio.bench.generator import BlkLoad
from ivshmem_virtio.bench.outcome import Outcome
from ivshmem_virtio.core import DriverQueue

QUEUE_SIZE = 512
"""Room for 128 requests of three descriptors."""


@dataclass(frozen=True)
class Work:
    """What the load is to do. ``size``: bytes of one request."""

    depth: int
    size: int = 4096
    write: bool = False
    sequential: bool = False
    check: bool = False


@dataclass(frozen=True)
class LoadedDisk:
    """``room`` bytes from ``base`` on are the load's; the disk has ``capacity`` bytes."""

    name: str
    queue: DriverQueue
    kick: int
    call: int
    base: int
    room: int
    capacity: int

    def run(self, work: Work, seconds: float, *, polled: bool) -> Outcome:
        """Load it for so long; raises RequestsFailed."""
        load = BlkLoad(
            self.queue,
            self.kick,
            self.call,
            base=self.base,
            room=self.room,
            depth=work.depth,
            size=work.size,
            span=self.capacity,
            write=work.write,
            sequential=work.sequential,
            check=work.check,
        )
        outcome = load.run(seconds, polled=polled)
        if outcome.errors or not outcome.requests:
            raise RequestsFailed(
                f"{self.name}: {outcome.errors} requests failed and {outcome.requests} were answered at {work}"
            )
        return outcome
