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


MODES = (("polled", True, True), ("blocking", False, True), ("asleep", False, False))
"""Name, whether the load spins, whether the devices may: as they do by default, or not at all."""


def run(bench: Run) -> None:
    """Every depth in both layouts of a ring; the load spins or sleeps, and in the end the devices sleep as well.

    The peer knows split rings only, so ours of either layout is beside its split one.
    """
    for mode, polled, polls in MODES:
        for packed in (False, True):
            label = f"{'packed' if packed else 'split'} {mode}"
            with ExitStack() as stack:
                ours, peer = _devices(bench, stack, polls=polls, packed=packed)
                for depth in DEPTHS:
                    case = Case("ring", f"{label} QD {depth}", "request/s", peer.name)
                    work = Work(depth)
                    bench.compare(case, partial(rate, ours, work, polled), partial(rate, peer, work, polled))


def _devices(bench: Run, stack: ExitStack, *, polls: bool, packed: bool) -> tuple[LoadedDisk, LoadedDisk]:
    folder, processors = stack.enter_context(bench.scratch()), bench.processors
    daemon = stack.enter_context(storage_daemon(folder, null_node(), polls=polls, prefix=processors.pinned()))
    bench.commands.append(daemon.command)
    peer = stack.enter_context(peer_disk(folder / SOCKET, "qemu-storage-daemon null-co"))
    keys = null_disk(polls=polls, packed=packed)
    ours = stack.enter_context(own_disk(folder / "ours", keys, "our null device", processor=processors.device))
    return ours, peer


def rate(disk: LoadedDisk, work: Work, polled: bool, seconds: float) -> Figure:
    """Requests a second, with what each cost in doorbells and, at depth 1, in time."""
    outcome = disk.run(work, seconds, polled=polled)
    notes = {"kicks": outcome.kicks / outcome.requests, "interrupts": outcome.interrupts / outcome.requests}
    if work.depth == 1:
        median, late, latest = outcome.latencies
        notes |= {"p50 us": median / 1000, "p99 us": late / 1000, "p99.9 us": latest / 1000}
    return Figure(outcome.rate, notes)
