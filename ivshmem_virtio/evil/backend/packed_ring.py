# SPDX-License-Identifier: MIT
"""The device side of a packed virtqueue (virtio 1.4, 2.8). A position is a slot with the wrap counter in bit 15."""

from __future__ import annotations

import struct
from contextlib import suppress

from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.evil.backend.chain import AT_LENGTH, DESCRIPTOR_SIZE, INDIRECT, LONGEST, NEXT, WRITE, Chain
from ivshmem_virtio.evil.backend.memory import Memory
from ivshmem_virtio.evil.backend.queue import PuppetQueue, RingLayout

DESCRIPTOR = struct.Struct("<QIHH")
AVAIL, USED = 1 << 7, 1 << 15
MARKS = AVAIL | USED
WRAP, SLOT = 0x8000, 0x7FFF
AT_ID, AT_FLAGS = 12, 14
# What an event suppression structure wants (virtio 1.4, 2.8.14): its flags, which stand behind a position.
ENABLE, DISABLE, DESC, RESERVED = 0, 1, 2, 3


class PackedLayout(RingLayout):
    """One ring that both sides write, and a wish for events of each."""

    packed = True
    first = WRAP
    at_flags = AT_FLAGS
    known_flags = NEXT | WRITE | INDIRECT | MARKS

    def take(self, memory: Memory, queue: PuppetQueue) -> Chain | None:
        flags = memory.load(slot_at(queue, queue.seen) + AT_FLAGS, 2)
        if flags & MARKS != available_marks(queue.seen):
            return None
        chain = Chain(0, step=0)
        with suppress(OutsideWindow):
            _follow(memory, queue, chain)
        queue.seen = moved(queue, queue.seen, max(chain.step, 1))
        return chain

    def ask(self, memory: Memory, queue: PuppetQueue) -> None:
        memory.store(queue.device, 4, event(DESC, queue.seen))

    def use(self, memory: Memory, queue: PuppetQueue, identity: int, length: int, step: int) -> None:
        write_used(memory, queue, queue.used, identity, length)
        queue.used = moved(queue, queue.used, step)


def moved(queue: PuppetQueue, position: int, count: int) -> int:
    """The position ``count`` slots on, over any number of laps."""
    laps, slot = divmod((position & SLOT) + count, max(queue.size, 1))
    return slot | (position & WRAP ^ (WRAP if laps % 2 else 0))


def available_marks(position: int) -> int:
    """AVAIL is the wrap counter, USED is not (virtio 1.4, 2.8.1)."""
    return AVAIL if position & WRAP else USED


def used_marks(position: int) -> int:
    """AVAIL and USED are both the wrap counter (virtio 1.4, 2.8.1)."""
    return MARKS if position & WRAP else 0


def slot_at(queue: PuppetQueue, position: int) -> int:
    """Window offset of the descriptor at a position."""
    return queue.desc + DESCRIPTOR_SIZE * (position & SLOT)


def event(flags: int, position: int) -> int:
    """An event suppression structure."""
    return position | flags << 16


def write_used(
    memory: Memory, queue: PuppetQueue, position: int, identity: int, length: int, flags: int | None = None
) -> None:
    """A used descriptor, its flags last: honest ones for this position unless others are given."""
    at = slot_at(queue, position)
    memory.store(at + AT_LENGTH, 4, length)
    memory.store(at + AT_ID, 2, identity)
    # Without WRITE the length means nothing (virtio 1.4, 2.8.4).
    memory.store(at + AT_FLAGS, 2, used_marks(position) | (WRITE if length else 0) if flags is None else flags)


def _follow(memory: Memory, queue: PuppetQueue, chain: Chain) -> None:
    """Descriptors of a chain stand one behind the other; its buffer id is in the last one."""
    position = queue.seen
    for _ in range(max(queue.size, 1)):
        at, length, chain.head, flags = DESCRIPTOR.unpack(memory.read(slot_at(queue, position), DESCRIPTOR_SIZE))
        chain.step += 1
        if flags & INDIRECT:
            _follow_table(memory, at, length // DESCRIPTOR_SIZE, chain)
        else:
            chain.add(at, length, flags)
        if not flags & NEXT:
            return
        position = moved(queue, position, 1)


def _follow_table(memory: Memory, table: int, count: int, chain: Chain) -> None:
    """All of an indirect table: NEXT means nothing there (virtio 1.4, 2.8.7)."""
    for index in range(min(count, LONGEST)):
        at, length, _, flags = DESCRIPTOR.unpack(memory.read(table + DESCRIPTOR_SIZE * index, DESCRIPTOR_SIZE))
        chain.add(at, length, flags)


PACKED = PackedLayout()
