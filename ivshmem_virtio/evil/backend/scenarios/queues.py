# SPDX-License-Identifier: MIT
"""Lies about queues: their sizes, where they lie, whether they are live (docs/protocol.md, 4 and 6)."""

from __future__ import annotations

from collections.abc import Callable

from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Group, Play, Rings
from ivshmem_virtio.link.layout import Header, QueueLine

GROUP = Group()


def _blocks(play: Play, offset: Callable[[Puppet, int], int]) -> None:
    """Where every queue's ring block is said to lie."""
    for puppet in play.puppets:
        for queue in puppet.queues:
            puppet.lies[puppet.line(queue.index) + QueueLine.RING_OFFSET] = offset(puppet, queue.index)
            play.done += 1


@GROUP.early("queue-size-zero", "No queue exists.")
def queue_size_zero(play: Play) -> None:
    play.lie(Header.QUEUE_SIZE, 0)


@GROUP.early("queue-size-huge", "Every queue has 65535 entries.")
def queue_size_huge(play: Play) -> None:
    play.lie(Header.QUEUE_SIZE, 0xFFFF)


@GROUP.early("queue-size-largest", "Every queue has 32768 entries, more than its block holds.", rings=Rings.BOTH)
def queue_size_largest(play: Play) -> None:
    play.lie(Header.QUEUE_SIZE, 0x8000)


@GROUP.early("queue-size-odd", "Sizes that are no power of two.", rings=Rings.BOTH)
def queue_size_odd(play: Play) -> None:
    play.lie(Header.QUEUE_SIZE, play.random.choice([3, 100, 255, 257]))


@GROUP.early("queue-size-one", "Every queue has one entry.", rings=Rings.BOTH)
def queue_size_one(play: Play) -> None:
    play.lie(Header.QUEUE_SIZE, 1)


@GROUP.early("queue-size-changing", "The size is another one whenever one looks.")
def queue_size_changing(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(Header.QUEUE_SIZE, 2, 1 << play.random.randrange(16)))


@GROUP.early("queue-refused", "No queue goes live.")
def queue_refused(play: Play) -> None:
    play.lie(Header.QUEUE_ENABLE, 0)


@GROUP.early("queue-live-already", "Every queue is live before the driver made it so.", rings=Rings.BOTH)
def queue_live_already(play: Play) -> None:
    play.lie(Header.QUEUE_ENABLE, 1)


@GROUP.early("queue-vectors-wild", "Queues are to be rung at vectors that nobody has.")
def queue_vectors_wild(play: Play) -> None:
    play.lie(Header.QUEUE_DEVICE_VECTOR, play.random.choice([0xFFFF, 0x8000, 64]))


@GROUP.running("queue-registers-move", "Addresses, size and liveness of queues change under way.", rings=Rings.BOTH)
def queue_registers_move(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.memory.write(Header.QUEUE_SEL, play.random.randbytes(0x24))

    play.each_turn(turn)


@GROUP.running("ring-blocks-move", "The lines that say where rings lie change under way.", rings=Rings.BOTH)
def ring_blocks_move(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in puppet.queues:
            puppet.memory.write(puppet.line(queue.index), play.random.randbytes(0x14))

    play.each_turn(turn)


@GROUP.early("ring-block-outside", "Ring blocks lie outside the window.")
def ring_block_outside(play: Play) -> None:
    _blocks(play, lambda p, q: p.memory.size + 64 * play.random.randrange(1 << 20))


@GROUP.early("ring-block-wrapping", "Ring blocks end beyond the end of all addresses.")
def ring_block_wrapping(play: Play) -> None:
    _blocks(play, lambda p, q: 0xFFFFFFFFFFFFFFC0)


@GROUP.early("ring-block-in-registers", "Ring blocks lie over the registers.")
def ring_block_in_registers(play: Play) -> None:
    _blocks(play, lambda p, q: 64)


@GROUP.early("ring-block-in-pool", "Ring blocks lie where the driver's buffers are.", rings=Rings.BOTH)
def ring_block_in_pool(play: Play) -> None:
    _blocks(play, lambda p, q: p.size + 4096)


@GROUP.early("ring-block-misaligned", "Ring blocks are misaligned.", rings=Rings.BOTH)
def ring_block_misaligned(play: Play) -> None:
    _blocks(play, lambda p, q: p.queues[q].block + play.random.randrange(1, 63))


@GROUP.early("ring-blocks-overlap", "All queues of a device share one ring block.", rings=Rings.BOTH)
def ring_blocks_overlap(play: Play) -> None:
    _blocks(play, lambda p, q: p.queues[0].block)


@GROUP.early("ring-block-too-short", "Ring blocks are too short for their queues.", rings=Rings.BOTH)
def ring_block_too_short(play: Play) -> None:
    for puppet in play.puppets:
        for queue in puppet.queues:
            puppet.lies[puppet.line(queue.index) + QueueLine.RING_LENGTH] = play.random.randrange(1, queue.length)
            play.done += 1


@GROUP.early("ring-block-endless", "Ring blocks of four gigabytes.")
def ring_block_endless(play: Play) -> None:
    for puppet in play.puppets:
        for queue in puppet.queues:
            puppet.lies[puppet.line(queue.index) + QueueLine.RING_LENGTH] = 0xFFFFFFFF
            play.done += 1
