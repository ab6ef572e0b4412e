# SPDX-License-Identifier: MIT
"""Suite ``blk``: reads and writes of an image, mostly one that is in the page cache, beside qemu-storage-daemon and
pread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ivshmem_virtio.bench.generator import pread_loop
from ivshmem_virtio.bench.loaded_disk import LoadedDisk, Work
from ivshmem_virtio.bench.own_disk import own_disk
from ivshmem_virtio.bench.peer_disk import peer_disk
from ivshmem_virtio.bench.run import Case, Figure, Run
from ivshmem_virtio.bench.storage_daemon import SOCKET, file_node, storage_daemon
from ivshmem_virtio.bench.suites.ring import rate
from ivshmem_virtio.service.size import format_size

SMALL = 4 << 10
BIG = (64 << 10, 1 << 20)
DEPTHS = (1, 32, 128)
COLD_SECONDS = 0.25


def run(bench: Run) -> None:
    """Both sides serve images of their own, so that neither waits for the other's locks."""
    with _both(bench) as (ours, peer):
        # First: what writes have made dirty is written to storage in the background, on the same processors.
        _beside_pread(bench, ours)
        for work, polled in cases(bench.quick):
            compare(bench, ours.disk, peer.disk, work, polled)
        # Last: afterwards the image is in memory here and there only.
        _not_in_memory(bench, ours, peer)
    _direct(bench)


class Served(NamedTuple):
    """A disk, and the image it is made of."""

    disk: LoadedDisk
    image: Path


@contextmanager
def _both(bench: Run, *, direct: bool = False) -> Iterator[tuple[Served, Served]]:
    """Ours and the peer's; ``direct`` passes by the page cache."""
    with ExitStack() as stack:
        folder = stack.enter_context(bench.scratch())
        image, peer_image = folder / "ours.img", folder / "peer.img"
        for path in (image, peer_image):
            fill(path, bench.image_bytes)
            if direct:
                leave_memory(path)
        processors = bench.processors
        node = file_node(peer_image, direct=direct)
        daemon = stack.enter_context(storage_daemon(folder, node, polls=True, prefix=processors.pinned()))
        bench.commands.append(daemon.command)
        name = f"qemu-storage-daemon file, io_uring{', direct' if direct else ''}"
        peer = stack.enter_context(peer_disk(folder / SOCKET, name))
        keys = {"path": str(image), **({"direct": True} if direct else {})}
        ours = stack.enter_context(own_disk(folder / "ours", keys, "our file device", processor=processors.device))
        yield Served(ours, image), Served(peer, peer_image)


def fill(image: Path, size: int) -> None:
    """Make an image whose pages are all in memory; each sector begins with its number."""
    with image.open("wb") as file:
        for first in range(0, size // 512, 2048):
            file.write(b"".join(number.to_bytes(8, "little") + bytes(504) for number in range(first, first + 2048)))


def cases(quick: bool) -> list[tuple[Work, bool]]:
    """What is asked of both, and whether the load spins; the quick run leaves out most of what sleeps or writes."""
    found = [(Work(depth, SMALL, check=True), True) for depth in DEPTHS]
    found += [(Work(depth, SMALL, check=True), False) for depth in DEPTHS if not quick or depth != 128]
    found += [(Work(depth, SMALL, write=True), True) for depth in DEPTHS if not quick or depth == 32]
    for size in BIG:
        for depth in (1, 32):
            if quick and depth == 1:
                continue
            found.append((Work(depth, size, sequential=True), True))
            if not quick:
                found.append((Work(depth, size, sequential=True, write=True), True))
    return found


def compare(bench: Run, ours: LoadedDisk, peer: LoadedDisk, work: Work, polled: bool) -> None:
    """One case: requests a second, at depth 1 the latency."""
    order = "sequential" if work.sequential else "random"
    what = "write" if work.write else "read"
    name = f"{format_size(work.size)} {order} {what} {'polled' if polled else 'blocking'} QD {work.depth}"
    measure = latency if work.depth == 1 else rate
    bench.compare(
        _case(name, work.depth, peer), partial(measure, ours, work, polled), partial(measure, peer, work, polled)
    )


def _case(name: str, depth: int, peer: LoadedDisk) -> Case:
    return Case("blk", name, "us", peer.name, "less") if depth == 1 else Case("blk", name, "request/s", peer.name)


def _not_in_memory(bench: Run, ours: Served, peer: Served) -> None:
    """Reads that find hardly a page in memory: the image leaves it before each measurement, which is short."""

    def cold(served: Served, depth: int, seconds: float) -> Figure:
        leave_memory(served.image)
        measure = latency if depth == 1 else rate
        # What stands in the image after other cases have written to it, nobody knows.
        return measure(served.disk, Work(depth, SMALL), True, min(seconds, COLD_SECONDS))

    for depth in (1, 32):
        case = _case(f"4K random read not in memory QD {depth}", depth, peer.disk)
        bench.compare(case, partial(cold, ours, depth), partial(cold, peer, depth))


def leave_memory(image: Path) -> None:
    """Have the kernel forget an image's pages."""
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def _direct(bench: Run) -> None:
    """Both pass by the page cache."""
    with _both(bench, direct=True) as (ours, peer):
        works = [Work(depth, SMALL, check=True) for depth in ((1, 32) if bench.quick else DEPTHS)]
        for work in (*works, Work(32, SMALL, write=True), Work(32, 64 << 10, sequential=True)):
            compare(bench, ours.disk, peer.disk, work, True)


def latency(disk: LoadedDisk, work: Work, polled: bool, seconds: float) -> Figure:
    """Median time of a request, with all that ``rate`` has to say."""
    figure = rate(disk, work, polled, seconds)
    return Figure(figure.notes["p50 us"], {**figure.notes, "request/s": figure.value})


def _beside_pread(bench: Run, ours: Served) -> None:
    disk = ours.disk

    def bare(seconds: float) -> Figure:
        room, span = 128 * SMALL, bench.image_bytes
        return Figure(pread_loop(file, disk.queue.window, disk.base, room, size=SMALL, span=span, seconds=seconds).rate)

    file = os.open(ours.image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for depth in (32, 128):
            case = Case("blk", f"4K random read polled QD {depth}", "request/s", "a pread loop")
            bench.compare(case, partial(rate, disk, Work(depth, SMALL), True), bare)
    finally:
        os.close(file)
