# SPDX-License-Identifier: MIT
"""A block device of a vhost-user daemon's, for the load."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ivshmem_virtio.bench.loaded_disk import QUEUE_SIZE, LoadedDisk
from ivshmem_virtio.bench.peer_window import attached
from ivshmem_virtio.core import DriverQueue
from ivshmem_virtio.link.layout import SplitPlacement, round_up
from ivshmem_virtio.transport.driver.blk import BlkFeature
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.vhost_user.vring import RingPlace

WINDOW = 160 << 20
"""128 requests of 1 MiB and what goes with them."""
SECTOR = 512


@contextmanager
def peer_disk(socket: Path, name: str, *, event_idx: bool = True) -> Iterator[LoadedDisk]:
    """Attach to the daemon at ``socket`` with a window of its own; INDIRECT is not used, as with our device."""
    with attached(socket, WINDOW) as (daemon, window):
        # Without FLUSH every write would have to reach the disk before it is answered (virtio 1.4, 5.2.6.2).
        flush = daemon.device_features & BlkFeature.FLUSH
        daemon.negotiate(flush | (Feature.EVENT_IDX if event_idx else 0))
        capacity = int.from_bytes(daemon.read_config(0, 8), "little") * SECTOR
        place = SplitPlacement.at(0, QUEUE_SIZE)
        queue = DriverQueue(
            window, QUEUE_SIZE, place.desc, place.driver, place.device, event_idx=event_idx, indirect=False
        )
        vring = daemon.start_vring(0, RingPlace(QUEUE_SIZE, place.desc, place.driver, place.device))
        # A daemon that attaches looks at a ring only when it is kicked.
        os.eventfd_write(vring.kick, 1)
        base = round_up(place.end, 4096)
        yield LoadedDisk(name, queue, vring.kick, vring.call, base, WINDOW - base, capacity)
