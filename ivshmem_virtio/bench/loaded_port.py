# SPDX-License-Identifier: MIT
"""A network port with both queues up, ready for the load: the same whoever serves it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ivshmem_virtio.bench.errors import RequestsFailed
from ivshmem_virtio.bench.generator import FrameLoad, OneWayLoad
from ivshmem_virtio.bench.outcome import Outcome
from ivshmem_virtio.core import DriverQueue

QUEUE_SIZE = 256
WARM_UP_SECONDS = 10.0
BUFFER_BYTES = 2048
QUEUE_BYTES = QUEUE_SIZE * BUFFER_BYTES
"""Room for the buffers of one queue."""
RECEIVE, TRANSMIT = 0, 1
"""Queues of a port (virtio 1.4, 5.1.2)."""


@dataclass(frozen=True)
class LoadedQueue:
    """``base``: where ``QUEUE_BYTES`` for its buffers begin."""

    ring: DriverQueue
    kick: int
    base: int


@dataclass(frozen=True)
class LoadedPort:
    """One port, and its address."""

    name: str
    receive: LoadedQueue
    transmit: LoadedQueue
    mac: bytes


class Wire:
    """Frames from one port to another. There can be one such wire for two ports, for their queues are its own."""

    def __init__(self, source: LoadedPort, target: LoadedPort) -> None:
        self._name = source.name
        out, into = source.transmit, target.receive
        self._load = FrameLoad(
            out.ring, out.kick, out.base, into.ring, into.kick, into.base, addresses=target.mac + source.mac
        )

    def warm_up(self) -> None:
        """Until a frame arrives: a program that spins needs its turn on the processor first. Raises RequestsFailed."""
        deadline = time.monotonic() + WARM_UP_SECONDS
        while not self._load.run(64, 0.005)[0].requests:
            if time.monotonic() > deadline:
                raise RequestsFailed(f"{self._name}: no frame arrived within {WARM_UP_SECONDS:g} s")

    def run(self, frame: int, seconds: float) -> tuple[Outcome, int]:
        """Frames of so many bytes that arrived, and how many were sent; raises RequestsFailed for a wrong one."""
        outcome, sent = self._load.run(frame, seconds)
        if outcome.errors or not outcome.requests:
            raise RequestsFailed(
                f"{self._name}: of {sent} frames {outcome.requests} arrived, and {outcome.errors} had a wrong length"
            )
        return outcome, sent


class HalfWire:
    """Frames of so many bytes that the device takes from one queue, or puts into it."""

    def __init__(self, port: LoadedPort, frame: int, *, receiving: bool) -> None:
        self._name = port.name
        queue = port.receive if receiving else port.transmit
        self._load = OneWayLoad(queue.ring, queue.kick, queue.base, frame=frame, receiving=receiving)

    def warm_up(self) -> None:
        """Until a frame went over. Raises RequestsFailed."""
        deadline = time.monotonic() + WARM_UP_SECONDS
        while not self._load.run(0.005).requests:
            if time.monotonic() > deadline:
                raise RequestsFailed(f"{self._name}: no frame within {WARM_UP_SECONDS:g} s")

    def run(self, seconds: float) -> Outcome:
        """Raises RequestsFailed for a wrong frame."""
        outcome = self._load.run(seconds)
        if outcome.errors or not outcome.requests:
            raise RequestsFailed(f"{self._name}: of {outcome.requests} frames {outcome.errors} had a wrong length")
        return outcome
