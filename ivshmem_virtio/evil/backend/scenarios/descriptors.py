# SPDX-License-Identifier: MIT
"""Writes to what only the driver writes: descriptor tables, indirect tables, available rings (virtio 1.4, 2.7.5)."""

from __future__ import annotations

from collections.abc import Callable

from ivshmem_virtio.evil.backend.chain import INDIRECT, NEXT, WRITE
from ivshmem_virtio.evil.backend.puppet import Puppet, PuppetQueue
from ivshmem_virtio.evil.backend.scenario import Group, Play

GROUP = Group()
AT_LENGTH, AT_FLAGS, AT_NEXT = 8, 12, 14


def _each_descriptor(play: Play, what: Callable[[Puppet, int], None]) -> None:
    """Do ``what`` to some descriptors (by offset) of every live queue, at every turn."""

    def turn(puppet: Puppet) -> None:
        for queue in _live(puppet):
            for _ in range(16):
                what(puppet, queue.desc + 16 * play.random.randrange(queue.size))

    play.each_turn(turn)


def _live(puppet: Puppet) -> list[PuppetQueue]:
    return [queue for queue in puppet.queues if queue.enabled and queue.size]


def _toggle(puppet: Puppet, at: int, flag: int) -> None:
    puppet.memory.store(at + AT_FLAGS, 2, puppet.memory.load(at + AT_FLAGS, 2) ^ flag)


@GROUP.running("descriptor-address", "Descriptors' addresses are overwritten.")
def descriptor_address(play: Play) -> None:
    _each_descriptor(play, lambda p, at: p.memory.store(at, 8, play.random.getrandbits(64)))


@GROUP.running("descriptor-address-inside", "Descriptors' addresses are moved inside the window.")
def descriptor_address_inside(play: Play) -> None:
    _each_descriptor(play, lambda p, at: p.memory.store(at, 8, play.random.randrange(p.memory.size)))


@GROUP.running("descriptor-length", "Descriptors' lengths are overwritten.")
def descriptor_length(play: Play) -> None:
    _each_descriptor(play, lambda p, at: p.memory.store(at + AT_LENGTH, 4, play.random.getrandbits(32)))


@GROUP.running("descriptor-write-flag", "Descriptors' WRITE flags are inverted.")
def descriptor_write_flag(play: Play) -> None:
    _each_descriptor(play, lambda p, at: _toggle(p, at, WRITE))


@GROUP.running("descriptor-indirect-flag", "Descriptors' INDIRECT flags are inverted.")
def descriptor_indirect_flag(play: Play) -> None:
    _each_descriptor(play, lambda p, at: _toggle(p, at, INDIRECT))


@GROUP.running("descriptor-flags-unknown", "Descriptors get flags that mean nothing.")
def descriptor_flags_unknown(play: Play) -> None:
    _each_descriptor(play, lambda p, at: _toggle(p, at, play.random.getrandbits(16) & ~(NEXT | WRITE | INDIRECT)))


@GROUP.running("descriptor-next-index", "Descriptors' next fields are overwritten, their NEXT flags left alone.")
def descriptor_next_index(play: Play) -> None:
    _each_descriptor(play, lambda p, at: p.memory.store(at + AT_NEXT, 2, play.random.getrandbits(16)))


@GROUP.running("descriptor-next-flag-set", "NEXT is set in every descriptor.", packed_only=True)
def descriptor_next_flag_set(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in _live(puppet):
            for index in range(queue.size):
                at = queue.desc + 16 * index + AT_FLAGS
                puppet.memory.store(at, 2, puppet.memory.load(at, 2) | NEXT)

    play.each_turn(turn)


@GROUP.running("descriptor-next-flag-cleared", "NEXT is cleared in every descriptor.", packed_only=True)
def descriptor_next_flag_cleared(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in _live(puppet):
            for index in range(queue.size):
                at = queue.desc + 16 * index + AT_FLAGS
                puppet.memory.store(at, 2, puppet.memory.load(at, 2) & ~NEXT)

    play.each_turn(turn)


@GROUP.running("descriptor-next-flag-random", "NEXT is inverted here and there.", packed_only=True)
def descriptor_next_flag_random(play: Play) -> None:
    _each_descriptor(play, lambda p, at: _toggle(p, at, NEXT))


@GROUP.running("descriptor-table-garbage", "All of a descriptor table is random bytes.", packed_only=True)
def descriptor_table_garbage(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in _live(puppet):
            puppet.memory.write(queue.desc, play.random.randbytes(16 * queue.size))

    play.each_turn(turn)


@GROUP.running("indirect-table", "Indirect tables are overwritten while their requests are in flight.")
def indirect_table(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in _live(puppet):
            for index in range(queue.size):
                at = queue.desc + 16 * index
                table, length = puppet.memory.load(at, 8), puppet.memory.load(at + AT_LENGTH, 4)
                inside = table + length <= puppet.memory.size and length < 65536
                if inside and puppet.memory.load(at + AT_FLAGS, 2) & INDIRECT:
                    puppet.memory.write(table, play.random.randbytes(length))

    play.each_turn(turn)


@GROUP.running("available-ring", "Entries and index of the available ring are overwritten.")
def available_ring(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in _live(puppet):
            puppet.memory.write(queue.driver + 2, play.random.randbytes(2 + 2 * queue.size))
        puppet.muted = True

    play.each_turn(turn)


@GROUP.running("used-event", "The driver's wish to be interrupted (used_event, available flags) is overwritten.")
def used_event(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for queue in _live(puppet):
            puppet.memory.store(queue.driver, 2, play.random.getrandbits(16))
            puppet.memory.store(queue.driver + 4 + 2 * queue.size, 2, play.random.getrandbits(16))

    play.each_turn(turn)
