# SPDX-License-Identifier: MIT
"""Suite ``kick``: a doorbell to our worker and one back, beside two bare eventfds between two processes.

Ours is the whole way of a request that does nothing: into the ring, doorbell, worker, out of the ring, doorbell. The
blocking case sleeps on both sides; the polled one spins on both, where ours needs no doorbell at all.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from ivshmem_virtio.bench.child import Child
from ivshmem_virtio.bench.generator import eventfd_trips
from ivshmem_virtio.bench.loaded_disk import LoadedDisk, Work
from ivshmem_virtio.bench.own_disk import null_disk, own_disk
from ivshmem_virtio.bench.run import Case, Figure, Run

SMALLEST = Work(depth=1, size=512)


def run(bench: Run) -> None:
    """Blocking, then polled."""
    for polled in (False, True):
        with (
            bench.scratch() as folder,
            own_disk(folder, null_disk(polls=polled), "our null device", processor=bench.processors.device) as disk,
        ):
            bench.compare(
                Case("kick", "polled" if polled else "blocking", "us", "two eventfds", "less"),
                partial(_ours, disk, polled),
                partial(_peer, bench, polled),
            )


def _ours(disk: LoadedDisk, polled: bool, seconds: float) -> Figure:
    outcome = disk.run(SMALLEST, seconds, polled=polled)
    notes = {"kicks": outcome.kicks / outcome.requests, "interrupts": outcome.interrupts / outcome.requests}
    return Figure(outcome.median_microseconds, notes)


def _peer(bench: Run, polled: bool, seconds: float) -> Figure:
    flags = os.EFD_CLOEXEC | (os.EFD_NONBLOCK if polled else 0)
    ask, answer = os.eventfd(0, flags), os.eventfd(0, flags)
    try:
        with bench.scratch() as folder:
            ready = folder / "ready"
            arguments = [str(ask), str(answer), str(int(polled)), str(ready)]
            command = [
                *bench.processors.pinned(),
                sys.executable,
                "-m",
                "ivshmem_virtio.bench.eventfd_peer",
                *arguments,
            ]
            with Child(command, folder / "log", ready.exists, descriptors=(ask, answer)):
                outcome = eventfd_trips(ask, answer, seconds, spinning=polled)
    finally:
        os.close(ask)
        os.close(answer)
    return Figure(outcome.median_microseconds)
