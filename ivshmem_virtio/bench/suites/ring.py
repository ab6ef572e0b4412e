# SPDX-License-Identifier: MIT
"""Suite ``ring``: the transport alone, with a block device that answers at once, beside qemu-storage-daemon's."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from ivshmem_virtio.bench.loaded_disk import LoadedDisk, Work
from ivshmem_virtio.bench.own_disk import null_disk, own_disk
from ivshmem_virtio.bench.peer_disk import peer_disk
from ivshmem_virtio.bench.run import Case, Figure, Run
from ivshmem_virtio.bench.storage_daemon import SOCKET, null_node, storage_daemon

DEPTHS = (1, 32, 128)


def run(bench: Run) -> None:
    """Every depth in both layouts of a ring, both sides spinning, then both sleeping.

    The peer knows split rings only, so ours of either layout is beside its split one.
    """
    for polled in (True, False):
        for packed in (False, True):
            _compare(bench, polled=polled, packed=packed)


def _compare(bench: Run, *, polled: bool, packed: bool) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(bench.scratch())
        processors = bench.processors
        daemon = stack.enter_context(storage_daemon(folder, null_node(), polls=polled, prefix=processors.pinned()))
        bench.commands.append(daemon.command)
        peer = stack.enter_context(peer_disk(folder / SOCKET, "qemu-storage-daemon null-co"))
        keys = null_disk(polls=polled, packed=packed)
        ours = stack.enter_context(own_disk(folder / "ours", keys, "our null device", processor=processors.device))
        for depth in DEPTHS:
            label = "packed" if packed else "split"
            compare_depth(bench, "ring", ours, peer, Work(depth), polled=polled, label=label)


def compare_depth(
    bench: Run, suite: str, ours: LoadedDisk, peer: LoadedDisk, work: Work, *, polled: bool, label: str
) -> None:
    """One piece of work: requests a second, and at depth 1 the latency."""
    waiting = "polled" if polled else "blocking"
    name = f"{label} {waiting} QD {work.depth}"
    bench.compare(
        Case(suite, name, "request/s", peer.name), partial(rate, ours, work, polled), partial(rate, peer, work, polled)
    )


def rate(disk: LoadedDisk, work: Work, polled: bool, seconds: float) -> Figure:
    """Requests a second, with what each cost in doorbells and, at depth 1, in time."""
    outcome = disk.run(work, seconds, polled=polled)
    notes = {"kicks": outcome.kicks / outcome.requests, "interrupts": outcome.interrupts / outcome.requests}
    if work.depth == 1:
        median, late, latest = outcome.latencies
        notes |= {"p50 us": median / 1000, "p99 us": late / 1000, "p99.9 us": latest / 1000}
    return Figure(outcome.rate, notes)
