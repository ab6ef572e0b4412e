# SPDX-License-Identifier: MIT
"""Where the parts of one link's header lie, once the number of queues and the configuration length are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ivshmem_virtio.link.layout import LINE_SIZE, Header, ring_block_length, round_up


@dataclass(frozen=True)
class RegisterMap:
    """Offsets, in bytes from the window's start, of what the back-end reserves there (docs/protocol.md, 4 and 6)."""

    config_length: int
    queue_sizes: tuple[int, ...]

    @classmethod
    def of(cls, config_length: int, queue_sizes: Sequence[int]) -> RegisterMap:
        """The map for a device with ``config_length`` bytes of configuration and queues of these largest sizes."""
        return cls(config_length, tuple(queue_sizes))

    @property
    def backend_line(self) -> int:
        return round_up(Header.CONFIG + self.config_length, LINE_SIZE)

    @property
    def frontend_line(self) -> int:
        return self.backend_line + LINE_SIZE

    @property
    def event_bytes(self) -> int:
        return self.frontend_line + LINE_SIZE

    def event_byte(self, queue: int) -> int:
        return self.event_bytes + queue

    def queue_line(self, queue: int) -> int:
        return self.event_bytes + round_up(len(self.queue_sizes), LINE_SIZE) + queue * LINE_SIZE

    @property
    def end(self) -> int:
        """First byte behind header, configuration and extension: no ring may lie below it."""
        return self.queue_line(len(self.queue_sizes))

    def ring_block(self, queue: int) -> tuple[int, int]:
        """Offset and length of the ring block of a queue."""
        before = sum(ring_block_length(size) for size in self.queue_sizes[:queue])
        return self.end + before, ring_block_length(self.queue_sizes[queue])

    def in_flight_hint(self, queue: int) -> int:
        """Offset of the bytes that tell which chains of a queue the back-end holds; behind all ring blocks."""
        blocks = sum(ring_block_length(size) for size in self.queue_sizes)
        return self.end + blocks + sum(round_up(size, LINE_SIZE) for size in self.queue_sizes[:queue])

    @property
    def reserved(self) -> int:
        """The header's ``size``: what no driver may allocate from."""
        return self.in_flight_hint(len(self.queue_sizes))
