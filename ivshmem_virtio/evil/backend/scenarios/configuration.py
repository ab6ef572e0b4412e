# SPDX-License-Identifier: MIT
"""Nonsense in device configuration spaces (virtio 1.4, 5)."""

from __future__ import annotations

import struct

from ivshmem_virtio.evil.backend.acts import BlkAct, ConsoleAct, NetAct
from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Group, Play
from ivshmem_virtio.link.layout import Header

GROUP = Group()


def _blk(play: Play, form: str, at: int, value: int, feature: int = 0) -> None:
    for puppet in play.puppet_of(BlkAct):
        struct.pack_into(form, puppet.act.config, at, value)
        puppet.act.features |= feature
        play.done += 1


def _net(play: Play, form: str, at: int, value: int | bytes, feature: int = 0) -> None:
    for puppet in play.puppet_of(NetAct):
        struct.pack_into(form, puppet.act.config, at, value)
        puppet.act.features |= feature
        play.done += 1


@GROUP.running("config-generation", "The generation never settles, the configuration changes under it.")
def config_generation(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.memory.store(Header.CONFIG_GENERATION, 4, play.random.getrandbits(32))
        puppet.memory.write(Header.CONFIG, play.random.randbytes(len(puppet.act.config)))
        puppet.memory.store(Header.CONFIG_EVENT, 1, 1)
        puppet.ring(0)

    play.each_turn(turn)


@GROUP.early("config-generation-early", "The generation never settles while drivers read the configuration.")
def config_generation_early(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(Header.CONFIG_GENERATION, 4, play.random.getrandbits(32)))


@GROUP.early("config-random", "The configuration is random from the start.")
def config_random(play: Play) -> None:
    for puppet in play.puppets:
        puppet.act.config = bytearray(play.random.randbytes(len(puppet.act.config)))
        play.done += 1


@GROUP.early("blk-capacity-zero", "A disk without a sector.")
def blk_capacity_zero(play: Play) -> None:
    _blk(play, "<Q", BlkAct.CAPACITY, 0)


@GROUP.early("blk-capacity-huge", "A disk of more sectors than anybody can count.")
def blk_capacity_huge(play: Play) -> None:
    _blk(play, "<Q", BlkAct.CAPACITY, play.random.choice([(1 << 64) - 1, 1 << 63, 1 << 55]))


@GROUP.running("blk-capacity-changes", "A disk that grows and shrinks.")
def blk_capacity_changes(play: Play) -> None:
    def turn() -> None:
        for puppet in play.puppet_of(BlkAct):
            puppet.memory.store(Header.CONFIG, 8, play.random.getrandbits(play.random.randrange(1, 64)))
            puppet.memory.store(Header.CONFIG_EVENT, 1, 1)
            puppet.ring(0)
            play.done += 1

    play.turns.append(turn)


@GROUP.early("blk-block-size-zero", "Blocks of no byte.")
def blk_block_size_zero(play: Play) -> None:
    _blk(play, "<I", BlkAct.AT_BLK_SIZE, 0, BlkAct.BLK_SIZE)


@GROUP.early("blk-block-size-odd", "Blocks whose size is no power of two.")
def blk_block_size_odd(play: Play) -> None:
    _blk(play, "<I", BlkAct.AT_BLK_SIZE, play.random.choice([513, 1, 511, 3000, 0xFFFFFFFF]), BlkAct.BLK_SIZE)


@GROUP.early("blk-block-size-huge", "Blocks larger than a page.")
def blk_block_size_huge(play: Play) -> None:
    _blk(play, "<I", BlkAct.AT_BLK_SIZE, play.random.choice([8192, 1 << 20, 1 << 31]), BlkAct.BLK_SIZE)


@GROUP.early("blk-segments-none", "No segment, and none of any size.")
def blk_segments_none(play: Play) -> None:
    _blk(play, "<I", BlkAct.AT_SEG_MAX, 0)
    _blk(play, "<I", BlkAct.AT_SIZE_MAX, 0)


@GROUP.early("blk-segments-many", "Any number of segments of any size.")
def blk_segments_many(play: Play) -> None:
    _blk(play, "<I", BlkAct.AT_SEG_MAX, 0xFFFFFFFF)
    _blk(play, "<I", BlkAct.AT_SIZE_MAX, 0xFFFFFFFF)


@GROUP.early("blk-topology", "Exponents and alignments that mean nothing.")
def blk_topology(play: Play) -> None:
    _blk(play, "<Q", BlkAct.AT_TOPOLOGY, play.random.getrandbits(64), BlkAct.TOPOLOGY | BlkAct.BLK_SIZE)


@GROUP.early("blk-queues-none", "A disk with many queues has none.")
def blk_queues_none(play: Play) -> None:
    _blk(play, "<H", BlkAct.NUM_QUEUES, 0, BlkAct.MQ)


@GROUP.early("blk-queues-many", "A disk has 65535 queues.")
def blk_queues_many(play: Play) -> None:
    _blk(play, "<H", BlkAct.NUM_QUEUES, 0xFFFF, BlkAct.MQ)


@GROUP.early("net-mtu-zero", "An MTU of 0.")
def net_mtu_zero(play: Play) -> None:
    _net(play, "<H", NetAct.AT_MTU, play.random.choice([0, 1, 67]), NetAct.MTU)


@GROUP.early("net-mtu-huge", "An MTU of 65535.")
def net_mtu_huge(play: Play) -> None:
    _net(play, "<H", NetAct.AT_MTU, 0xFFFF, NetAct.MTU)


@GROUP.early("net-mac-invalid", "An address that no interface can have.")
def net_mac_invalid(play: Play) -> None:
    _net(play, "6s", NetAct.AT_MAC, play.random.choice([bytes(6), b"\xff" * 6, b"\x01\0\0\0\0\0"]))


@GROUP.early("net-pairs-none", "Multiqueue without a queue pair.")
def net_pairs_none(play: Play) -> None:
    _net(play, "<H", NetAct.AT_PAIRS, 0, NetAct.MQ | NetAct.CTRL_VQ)


@GROUP.early("net-pairs-some", "Multiqueue with more queue pairs than there are queues.")
def net_pairs_some(play: Play) -> None:
    _net(play, "<H", NetAct.AT_PAIRS, 64, NetAct.MQ | NetAct.CTRL_VQ)


@GROUP.running("net-link-flaps", "The link goes up and down.")
def net_link_flaps(play: Play) -> None:
    def turn() -> None:
        for puppet in play.puppet_of(NetAct):
            puppet.memory.store(Header.CONFIG + NetAct.AT_STATUS, 2, play.random.getrandbits(16))
            puppet.memory.store(Header.CONFIG_EVENT, 1, 1)
            puppet.ring(0)
            play.done += 1

    play.turns.append(turn)


@GROUP.early("console-ports-none", "A console with many ports has none.")
def console_ports_none(play: Play) -> None:
    _console(play, 0)


@GROUP.early("console-ports-many", "A console has four thousand million ports.")
def console_ports_many(play: Play) -> None:
    _console(play, 0xFFFFFFFF)


@GROUP.early("console-ports-most", "A console has as many ports as Linux allows, and four queues.")
def console_ports_most(play: Play) -> None:
    _console(play, 0x8000)


def _console(play: Play, ports: int) -> None:
    for puppet in play.puppet_of(ConsoleAct):
        puppet.act.features |= ConsoleAct.MULTIPORT
        puppet.act.queue_sizes = [64] * 4
        struct.pack_into("<I", puppet.act.config, ConsoleAct.MAX_NR_PORTS, ports)
        puppet.place()
        play.done += 1
