# SPDX-License-Identifier: MIT
"""Writes to what only the driver writes: descriptors, tables, available rings (virtio 1.4, 2.7.5 and 2.8.5)."""

from __future__ import annotations

from collections.abc import Callable

from ivshmem_virtio.evil.backend.chain import AT_LENGTH, DESCRIPTOR_SIZE, INDIRECT, NEXT, WRITE
from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.queue import PuppetQueue
from ivshmem_virtio.evil.backend.scenario import Group, Play, Rings

GROUP = Group()
AT_NEXT = 14


def _each_descriptor(play: Play, what: Callable[[Puppet, PuppetQueue, int], None]) -> None:
    """Do ``what`` to some descriptors (by offset) of every live queue, at every turn."""

    def turn(puppet: Puppet) -> None:
        for queue in puppet.live:
            for _ in range(16):
                what(puppet, queue, queue.desc + DESCRIPTOR_SIZE * play.random.randrange(queue.size))

    play.each_turn(turn)


def _each_flags(play: Play, change: Callable[[int], int]) -> None:
    """Other flags in every descriptor of every live queue, at every turn."""

    def turn(puppet: Puppet) -> None:
        for queue in puppet.live:
            for index in range(queue.size):
                at = queue.desc + DESCRIPTOR_SIZE * index + queue.layout.at_flags
                puppet.memory.store(at, 2, change(puppet.memory.load(at, 2)))

    play.each_turn(turn)


def _toggle(puppet: Puppet, queue: PuppetQueue, at: int, flag: int) -> None:
    at += queue.layout.at_flags
    puppet.memory.store(at, 2, puppet.memory.load(at, 2) ^ flag)


@GROUP.running("descriptor-address", "Descriptors' addresses are overwritten.", rings=Rings.BOTH)
def descriptor_address(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: p.memory.store(at, 8, play.random.getrandbits(64)))


@GROUP.running("descriptor-address-inside", "Descriptors' addresses are moved inside the window.", rings=Rings.BOTH)
def descriptor_address_inside(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: p.memory.store(at, 8, play.random.randrange(p.memory.size)))


@GROUP.running("descriptor-length", "Descriptors' lengths are overwritten.", rings=Rings.BOTH)
def descriptor_length(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: p.memory.store(at + AT_LENGTH, 4, play.random.getrandbits(32)))


@GROUP.running("descriptor-write-flag", "Descriptors' WRITE flags are inverted.", rings=Rings.BOTH)
def descriptor_write_flag(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: _toggle(p, q, at, WRITE))


@GROUP.running("descriptor-indirect-flag", "Descriptors' INDIRECT flags are inverted.", rings=Rings.BOTH)
def descriptor_indirect_flag(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: _toggle(p, q, at, INDIRECT))


@GROUP.running("descriptor-flags-unknown", "Descriptors get flags that mean nothing.", rings=Rings.BOTH)
def descriptor_flags_unknown(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: _toggle(p, q, at, play.random.getrandbits(16) & ~q.layout.known_flags))


@GROUP.running("descriptor-next-index", "Descriptors' next fields are overwritten, their NEXT flags left alone.")
def descriptor_next_index(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: p.memory.store(at + AT_NEXT, 2, play.random.getrandbits(16)))


@GROUP.running("descriptor-next-flag-set", "NEXT is set in every descriptor.", writes_next=True, rings=Rings.BOTH)
def descriptor_next_flag_set(play: Play) -> None:
    _each_flags(play, lambda flags: flags | NEXT)


@GROUP.running(
    "descriptor-next-flag-cleared", "NEXT is cleared in every descriptor.", writes_next=True, rings=Rings.BOTH
)
def descriptor_next_flag_cleared(play: Play) -> None:
    _each_flags(play, lambda flags: flags & ~NEXT)


@GROUP.running("descriptor-next-flag-random", "NEXT is inverted here and there.", writes_next=True, rings=Rings.BOTH)
def descriptor_next_flag_random(play: Play) -> None:
    _each_descriptor(play, lambda p, q, at: _toggle(p, q, at, NEXT))


@GROUP.running("descriptor-table-garbage", "All of a descriptor table is random bytes.", writes_next=True)
def descriptor_table_garbage(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in puppet.live:
            puppet.memory.write(queue.desc, play.random.randbytes(DESCRIPTOR_SIZE * queue.size))

    play.each_turn(turn)


@GROUP.running(
    "indirect-table", "Indirect tables are overwritten while their requests are in flight.", rings=Rings.BOTH
)
def indirect_table(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in puppet.live:
            for index in range(queue.size):
                at = queue.desc + DESCRIPTOR_SIZE * index
                table, length = puppet.memory.load(at, 8), puppet.memory.load(at + AT_LENGTH, 4)
                inside = table + length <= puppet.memory.size and length < 65536
                if inside and puppet.memory.load(at + queue.layout.at_flags, 2) & INDIRECT:
                    puppet.memory.write(table, play.random.randbytes(length))

    play.each_turn(turn)


@GROUP.running("available-ring", "Entries and index of the available ring are overwritten.")
def available_ring(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in puppet.live:
            puppet.memory.write(queue.driver + 2, play.random.randbytes(2 + 2 * queue.size))
        puppet.muted = True

    play.each_turn(turn)


@GROUP.running("used-event", "The driver's wish to be interrupted (used_event, available flags) is overwritten.")
def used_event(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in puppet.live:
            puppet.memory.store(queue.driver, 2, play.random.getrandbits(16))
            puppet.memory.store(queue.driver + 4 + 2 * queue.size, 2, play.random.getrandbits(16))

    play.each_turn(turn)
