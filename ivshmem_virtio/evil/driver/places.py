# SPDX-License-Identifier: MIT
"""Where everything lies in a window, noted while its header still told the truth."""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio.core import Window
from ivshmem_virtio.evil.driver.errors import WindowTooSmall
from ivshmem_virtio.link.layout import (
    LINE_SIZE,
    PAGE_SIZE,
    Header,
    PackedPlacement,
    SplitPlacement,
    ring_placement,
    round_up,
)
from ivshmem_virtio.transport.driver.backend import Backend, read_ring_block

LEAST_ROOM = 2 * PAGE_SIZE


@dataclass(frozen=True)
class Stretch:
    """Part of a window, from ``start`` to ``end``; bytes."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class QueuePlace:
    """One queue: its ring, the vector that kicks it, and room for what its descriptors name."""

    index: int
    size: int
    ring: SplitPlacement | PackedPlacement
    vector: int
    room: Stretch


@dataclass(frozen=True)
class Shown:
    """What the header shows of a queue when it is selected."""

    index: int
    size: int
    vector: int


def queue_places(window: Window, backend: Backend, shown: list[Shown], *, packed: bool) -> list[QueuePlace]:
    """Rings where the host wants them, else in the driver's own part; the rest of that is shared out as room.

    Raises WindowTooSmall.
    """
    free = round_up(backend.size, LINE_SIZE)
    rings: list[SplitPlacement | PackedPlacement] = []
    for queue in shown:
        block = read_ring_block(window, backend, queue.index)
        start = free if block is None else block[0]
        rings.append(ring_placement(start, queue.size, packed=packed))
        if block is None:
            free = round_up(rings[-1].end, LINE_SIZE)
    share = (window.length - free) // max(len(shown), 1) // LINE_SIZE * LINE_SIZE
    if share < LEAST_ROOM:
        raise WindowTooSmall(
            f"{window.length} bytes of window leave {share} for each queue, {LEAST_ROOM} are the least: enlarge it"
        )
    return [
        QueuePlace(queue.index, queue.size, ring, queue.vector, Stretch(free + i * share, free + (i + 1) * share))
        for i, (queue, ring) in enumerate(zip(shown, rings, strict=True))
    ]


def registers(backend: Backend) -> Stretch:
    """Header, configuration and extension."""
    return Stretch(Header.REVISION, backend.registers_end)
