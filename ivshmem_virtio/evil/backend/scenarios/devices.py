# SPDX-License-Identifier: MIT
"""Nonsense in what devices say: frames, control messages, input."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ivshmem_virtio.evil.backend.acts import BlkAct, ConsoleAct, NetAct, RngAct
from ivshmem_virtio.evil.backend.chain import Chain
from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.queue import PuppetQueue
from ivshmem_virtio.evil.backend.scenario import Group, Play, Rings

GROUP = Group()


@GROUP.running("blk-status-garbage", "Requests end with a status that does not exist.", rings=Rings.BOTH)
def blk_status_garbage(play: Play) -> None:
    def garbage(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        if isinstance(puppet.act, BlkAct) and chain.writable:
            at, length = chain.writable[-1]
            puppet.memory.store(at + length - 1, 1, play.random.getrandbits(8))
        puppet.push(queue, chain, written)

    play.completing(garbage)


@GROUP.running("net-frames-garbage", "Received frames are random, headers included.")
def net_frames_garbage(play: Play) -> None:
    _frames(play, lambda: play.random.randbytes(play.random.randrange(1, 1500)))


@GROUP.running("net-frames-tiny", "Received frames are shorter than their headers.")
def net_frames_tiny(play: Play) -> None:
    _frames(play, lambda: bytes(play.random.randrange(0, 14)))


@GROUP.running(
    "net-buffers-lie", "Received frames are said to go on in thousands of further buffers.", rings=Rings.BOTH
)
def net_buffers_lie(play: Play) -> None:
    _frames(play, lambda: struct.pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, play.random.getrandbits(16)) + bytes(60))


@GROUP.early("net-offload-lies", "Received frames claim segmentation and checksums that make no sense.")
def net_offload_lies(play: Play) -> None:
    for puppet in play.puppet_of(NetAct):
        puppet.act.features |= NetAct.GUEST_CSUM | NetAct.GUEST_TSO4 | NetAct.GUEST_TSO6
    _frames(play, lambda: _offload(play))


def _offload(play: Play) -> bytes:
    numbers = [play.random.getrandbits(16) for _ in range(4)]
    header = struct.pack("<BBHHHHH", play.random.getrandbits(3), play.random.choice([0, 1, 3, 4, 5, 0x81]), *numbers, 1)
    return header + play.random.randbytes(play.random.randrange(14, 1400))


def _frames(play: Play, make: Callable[[], bytes]) -> None:
    def turn() -> None:
        for puppet in play.puppet_of(NetAct):
            act = puppet.act
            if isinstance(act, NetAct) and len(act.echo) < 8:
                act.echo.append(make())
                play.done += 1

    play.turns.append(turn)


@GROUP.early("console-control-garbage", "Control messages of every kind for ports of every number.")
def console_control_garbage(play: Play) -> None:
    _multiport(play)

    def turn() -> None:
        for puppet in play.puppet_of(ConsoleAct):
            act = puppet.act
            if isinstance(act, ConsoleAct) and len(act.control) < 8:
                port = play.random.choice([0, 1, 0, 0xFFFFFFFF, 30])
                message = struct.pack("<IHH", port, play.random.randrange(10), play.random.getrandbits(16))
                act.control.append(message + play.random.randbytes(play.random.randrange(16)))
                play.done += 1

    play.turns.append(turn)


@GROUP.early("console-ports-appear", "Ports come and go.")
def console_ports_appear(play: Play) -> None:
    _multiport(play)

    def turn() -> None:
        for puppet in play.puppet_of(ConsoleAct):
            act = puppet.act
            if isinstance(act, ConsoleAct) and len(act.control) < 4:
                act.control.append(struct.pack("<IHH", play.random.randrange(2), play.random.choice([1, 2]), 1))
                play.done += 1

    play.turns.append(turn)


@GROUP.early("console-control-short", "Control messages that end before their header does.")
def console_control_short(play: Play) -> None:
    _multiport(play)

    def turn() -> None:
        for puppet in play.puppet_of(ConsoleAct):
            if isinstance(puppet.act, ConsoleAct) and len(puppet.act.control) < 4:
                puppet.act.control.append(play.random.randbytes(play.random.randrange(1, 8)))
                play.done += 1

    play.turns.append(turn)


def _multiport(play: Play) -> None:
    for puppet in play.puppet_of(ConsoleAct):
        puppet.act.features |= ConsoleAct.MULTIPORT
        puppet.act.queue_sizes = [32] * 6
        struct.pack_into("<I", puppet.act.config, ConsoleAct.MAX_NR_PORTS, 2)
        puppet.place()


@GROUP.running("console-input-flood", "Input at full speed.", rings=Rings.BOTH)
def console_input_flood(play: Play) -> None:
    for puppet in play.puppet_of(ConsoleAct):
        if isinstance(puppet.act, ConsoleAct):
            puppet.act.talkative = True
            play.done += 1


@GROUP.running("rng-length-lies", "More random bytes than there was room for.", rings=Rings.BOTH)
def rng_length_lies(play: Play) -> None:
    for puppet in play.puppet_of(RngAct):
        puppet.complete = lambda p, q, c, n: p.push(q, c, play.random.choice([c.room + 1, 1 << 31, 0]))
        play.done += 1
