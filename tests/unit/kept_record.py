# SPDX-License-Identifier: MIT
"""What a device side keeps of its ring in a memory of its own, which a successor goes on from."""

from __future__ import annotations

from ivshmem_virtio.core import Chain, DeviceQueue, Window
from ivshmem_virtio.transport.kept_layout import IN_FLIGHT_RECORD_SIZE, QUEUE_RECORD_SIZE, QueueRecord

RECORD = 0x40


class KeptRecord:
    """A ring whose device sides die without a word: all they have written can be looked at, and put back."""

    window: Window
    kept: Window
    record_length: int
    shared: tuple[int, int]
    """Offset and length of what a device side writes in the window, but for its event suppression."""

    def memory(self) -> bytes:
        """All that a device side writes."""
        return self.kept.read(RECORD, self.record_length) + self.window.read(*self.shared)

    def put_back(self, memory: bytes) -> None:
        offset, length = self.shared
        self.kept.write(RECORD, memory[: self.record_length])
        self.window.write(offset, memory[self.record_length : self.record_length + length])

    def record(self, field: QueueRecord, width: int = 4) -> int:
        return int.from_bytes(self.kept.read(RECORD + field, width), "little")

    def in_flight(self, head: int, field: int, width: int) -> int:
        at = RECORD + QUEUE_RECORD_SIZE + head * IN_FLIGHT_RECORD_SIZE + field
        return int.from_bytes(self.kept.read(at, width), "little")


def pop(queue: DeviceQueue) -> Chain:
    """A chain that must be there."""
    chain = queue.pop()
    assert chain is not None
    return chain


def chains(queue: DeviceQueue) -> list[Chain]:
    """All that a device side gets to see."""
    found = []
    while (chain := queue.pop()) is not None:
        found.append(chain)
    return found


def heads(queue: DeviceQueue) -> list[int]:
    """Their heads, or buffer ids."""
    return [chain.head for chain in chains(queue)]
