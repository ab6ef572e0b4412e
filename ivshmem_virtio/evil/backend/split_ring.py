# SPDX-License-Identifier: MIT
"""The device side of a split virtqueue (virtio 1.4, 2.7). Positions are free-running indices."""

from __future__ import annotations

import struct
from contextlib import suppress

from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.evil.backend.chain import DESCRIPTOR_SIZE, INDIRECT, LONGEST, NEXT, WRITE, Chain
from ivshmem_virtio.evil.backend.memory import Memory
from ivshmem_virtio.evil.backend.queue import PuppetQueue, RingLayout

DESCRIPTOR = struct.Struct("<QIHH")


class SplitLayout(RingLayout):
    """Three parts, of which the device writes the third."""

    packed = False
    first = 0
    at_flags = 12
    known_flags = NEXT | WRITE | INDIRECT

    def take(self, memory: Memory, queue: PuppetQueue) -> Chain | None:
        if memory.load(queue.driver + 2, 2) == queue.seen:
            return None
        head = memory.load(queue.driver + 4 + 2 * (queue.seen % max(queue.size, 1)), 2)
        queue.seen = queue.seen + 1 & 0xFFFF
        chain = Chain(head)
        with suppress(OutsideWindow):
            _follow(memory, queue.desc, queue.size, head, chain)
        return chain

    def ask(self, memory: Memory, queue: PuppetQueue) -> None:
        memory.store(queue.device + 4 + 8 * queue.size, 2, queue.seen)

    def use(self, memory: Memory, queue: PuppetQueue, identity: int, length: int, step: int) -> None:
        at = queue.device + 4 + 8 * (queue.used % max(queue.size, 1))
        memory.store(at, 4, identity)
        memory.store(at + 4, 4, length)
        queue.used = queue.used + step & 0xFFFF
        memory.store(queue.device + 2, 2, queue.used)


def _follow(memory: Memory, table: int, size: int, index: int, chain: Chain) -> None:
    """It ends early where it makes no sense."""
    for _ in range(LONGEST):
        if index >= size:
            return
        at, length, flags, following = DESCRIPTOR.unpack(memory.read(table + DESCRIPTOR_SIZE * index, DESCRIPTOR_SIZE))
        if flags & INDIRECT:
            table, size, index = at, length // DESCRIPTOR_SIZE, 0
            continue
        chain.add(at, length, flags)
        if not flags & NEXT:
            return
        index = following


SPLIT = SplitLayout()
