# SPDX-License-Identifier: MIT
"""Where the worker of a device runs, and how long it looks for more work before it sleeps."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ivshmem_virtio.core import PlaneWorker
from ivshmem_virtio.devices.device import DeviceError

SPINS = {"adaptive": 100_000, "never": 0, "always": -1}
"""Nanoseconds at most."""


class PlacementInvalid(DeviceError):
    """The threads of a device cannot run as configured."""


def spin_of(name: str, poll: str | int) -> int:
    """Nanoseconds of the ``poll`` key, which has a word or microseconds; raises PlacementInvalid."""
    spin = SPINS.get(poll) if isinstance(poll, str) else poll * 1000
    if spin is None or (not isinstance(poll, str) and poll < 0):
        raise PlacementInvalid(f"{name}: poll = {poll!r} is none of {', '.join(SPINS)}, nor microseconds")
    return spin


class Placement:
    """The ``poll`` and ``cpus`` keys of a device with one worker, None where not given. Raises PlacementInvalid."""

    def __init__(self, name: str, poll: str | int | None = None, cpus: Sequence[int] | None = None) -> None:
        self.name = name
        self.given = poll is not None or cpus is not None
        self.spin = spin_of(name, poll if poll is not None else "adaptive")
        self.cpus = tuple(cpus or ())

    def same_as(self, other: Placement) -> bool:
        """Whether both mean the same."""
        return (self.spin, sorted(self.cpus)) == (other.spin, sorted(other.cpus))

    def check(self) -> None:
        """That there are such processors; raises PlacementInvalid."""
        there = os.sched_getaffinity(0)
        if self.cpus and not there & set(self.cpus):
            raise PlacementInvalid(
                f"{self.name}: cpus = {list(self.cpus)}: processors {sorted(there)} are there for this process"
            )

    def start(self, name: str) -> PlaneWorker:
        """A worker that runs."""
        worker = PlaneWorker(name, longest_spin=self.spin, cpus=self.cpus)
        worker.start()
        return worker
