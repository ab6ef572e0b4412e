# SPDX-License-Identifier: MIT
"""A block device of our service's, for the load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ivshmem_virtio.bench.loaded_disk import QUEUE_SIZE, LoadedDisk
from ivshmem_virtio.bench.own_service import Driven, driven, guest, guest_text, service, service_text
from ivshmem_virtio.link.layout import PAGE_SIZE, round_up
from ivshmem_virtio.transport.driver.blk import BlkFeature
from ivshmem_virtio.transport.features import Feature

ROOM = 130 << 20
"""128 requests of 1 MiB and what goes with them."""
SECTOR = 512
"""Bytes a block device counts in."""


def null_disk(*, polls: bool, packed: bool = False) -> dict[str, object]:
    """Keys of a disk that answers at once and touches no data.

    Where it polls it still sleeps in the end, as the peer's does: a worker that never sleeps would take the processor
    from the peer while that is measured.
    """
    return {"backend": "null", "poll": "adaptive" if polls else "never", "ring": "packed" if packed else "split"}


@contextmanager
def own_disk(
    folder: Path, keys: Mapping[str, object], name: str, *, processor: int, features: int = Feature.EVENT_IDX
) -> Iterator[LoadedDisk]:
    """A service of its own with one disk that has these keys, and the disk's first queue."""
    device = {"type": "blk", "name": "disk", "window": "160M", "queue_size": QUEUE_SIZE, **keys}
    text = service_text() + guest_text("guest", "256M", device)
    with ExitStack() as stack:
        stack.enter_context(service(folder, text, processor=processor))
        disk = stack.enter_context(driven(stack.enter_context(guest(folder, "guest")), "disk"))
        yield _loaded(disk, name, features, ROOM)


@contextmanager
def own_disks(folder: Path, count: int, *, processor: int) -> Iterator[Sequence[LoadedDisk]]:
    """So many guests with a disk each that answers at once; each guest has a back-end of its own."""
    device = {"type": "blk", "name": "disk", "window": "4M", "queue_size": QUEUE_SIZE, **null_disk(polls=False)}
    names = [f"guest{number}" for number in range(count)]
    text = service_text() + "".join(guest_text(name, "8M", device) for name in names)
    with ExitStack() as stack:
        stack.enter_context(service(folder, text, processor=processor))
        disks = [stack.enter_context(driven(stack.enter_context(guest(folder, name)), "disk")) for name in names]
        yield [_loaded(disk, name, Feature.EVENT_IDX, 1 << 20) for disk, name in zip(disks, names, strict=True)]


def _loaded(disk: Driven, name: str, features: int, room: int) -> LoadedDisk:
    transport = disk.transport
    transport.negotiate(features | BlkFeature.FLUSH)
    queue = transport.setup_queue(0)
    kick = disk.kick()
    # O_DIRECT takes no memory that is not aligned as the storage wants it; guests give out whole pages.
    base = round_up(transport.pool.allocate(room + PAGE_SIZE), PAGE_SIZE)
    capacity = int.from_bytes(transport.read_config(0, 8), "little") * SECTOR
    transport.ready()
    return LoadedDisk(name, queue.ring, kick, disk.call(queue), base, room, capacity)
