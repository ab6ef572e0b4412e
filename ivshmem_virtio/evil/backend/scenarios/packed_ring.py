# SPDX-License-Identifier: MIT
"""Lies that only a packed ring can tell: used descriptors, their marks, event suppression (virtio 1.4, 2.8)."""

from __future__ import annotations

from collections.abc import Callable

from ivshmem_virtio.evil.backend.chain import AT_LENGTH, DESCRIPTOR_SIZE, NEXT, WRITE, Chain
from ivshmem_virtio.evil.backend.packed_ring import (
    AT_FLAGS,
    AT_ID,
    DESC,
    DISABLE,
    MARKS,
    RESERVED,
    WRAP,
    available_marks,
    event,
    moved,
    slot_at,
    used_marks,
    write_used,
)
from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.queue import PuppetQueue
from ivshmem_virtio.evil.backend.scenario import Group, Play, Rings
from ivshmem_virtio.link.layout import LINE_SIZE

GROUP = Group()
PACKED = Rings.PACKED


def _each_ring(play: Play, what: Callable[[Puppet, PuppetQueue], None]) -> None:
    """Do this to every packed ring that is live, at every turn, and ring its driver."""

    def turn() -> None:
        for puppet in play.puppets:
            for queue in puppet.live:
                if queue.layout.packed:
                    what(puppet, queue)
                    puppet.interrupt(queue)
                    play.done += 1

    play.turns.append(turn)


def _use(play: Play, flags: Callable[[PuppetQueue, int], int]) -> None:
    """Chains come back with flags that may depend on the honest ones."""

    def use(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        honest = used_marks(queue.used) | (WRITE if written else 0)
        write_used(puppet.memory, queue, queue.used, chain.head, written, flags(queue, honest))
        queue.used = moved(queue, queue.used, chain.step)

    play.completing(use)


# Buffer ids.


@GROUP.running("used-id-highest", "Used descriptors have ids beyond any ring.", rings=PACKED)
def used_id_highest(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, 0xFFFF - play.random.randrange(0x8000), n, c.step))


@GROUP.running("used-id-rewritten", "Ids of used descriptors change after they were shown.", rings=PACKED)
def used_id_rewritten(play: Play) -> None:
    def rewrite(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        at = slot_at(queue, queue.used) + AT_ID
        puppet.push(queue, chain, written)
        puppet.interrupt(queue)
        for _ in range(8):
            puppet.memory.store(at, 2, play.random.choice([chain.head, play.random.getrandbits(16)]))

    play.completing(rewrite)


@GROUP.running("used-lap-of-one", "All slots to come are used, by the same id.", rings=PACKED)
def used_lap_of_one(play: Play) -> None:
    def lap(puppet: Puppet, queue: PuppetQueue) -> None:
        identity = play.random.randrange(queue.size)
        _write_lap(puppet, queue, lambda _: identity)

    _each_ring(play, lap)


@GROUP.running("used-lap-of-all", "All slots to come are used, each by another id.", rings=PACKED)
def used_lap_of_all(play: Play) -> None:
    def lap(puppet: Puppet, queue: PuppetQueue) -> None:
        first = play.random.randrange(queue.size)
        _write_lap(puppet, queue, lambda count: (first + count) % queue.size)

    _each_ring(play, lap)


def _write_lap(puppet: Puppet, queue: PuppetQueue, identity: Callable[[int], int]) -> None:
    position = queue.used
    # The slot before it may hold what came back last.
    for count in range(queue.size - 1):
        write_used(puppet.memory, queue, position, identity(count), 1)
        position = moved(queue, position, 1)


# Where used descriptors stand.


@GROUP.running("used-forward", "The used position moves by more than the chains had.", rings=PACKED)
def used_forward(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, c.head, n, c.step + play.random.randrange(1, q.size)))


@GROUP.running("used-standing", "The used position never moves: each used descriptor is written over.", rings=PACKED)
def used_standing(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, c.head, n, 0))


@GROUP.running("used-backward", "The used position moves back.", rings=PACKED)
def used_backward(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, c.head, n, -play.random.randrange(1, 4)))


@GROUP.running("used-out-of-place", "Used descriptors stand anywhere, marked as they would be there.", rings=PACKED)
def used_out_of_place(play: Play) -> None:
    def anywhere(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        position = moved(queue, queue.used, play.random.randrange(2 * queue.size))
        write_used(puppet.memory, queue, position, chain.head, written)
        queue.used = moved(queue, queue.used, chain.step)

    play.completing(anywhere)


@GROUP.running("used-far-ahead", "Slots far ahead of the next one are marked used.", rings=PACKED)
def used_far_ahead(play: Play) -> None:
    def ahead(puppet: Puppet, queue: PuppetQueue) -> None:
        position = moved(queue, queue.used, play.random.randrange(queue.size // 2, 2 * queue.size))
        write_used(puppet.memory, queue, position, play.random.randrange(queue.size), 1)

    _each_ring(play, ahead)


@GROUP.running("used-everywhere", "Every slot is marked used, whatever stands in it.", rings=PACKED)
def used_everywhere(play: Play) -> None:
    def everywhere(puppet: Puppet, queue: PuppetQueue) -> None:
        marks = used_marks(play.random.choice([0, WRAP]))
        for slot in range(queue.size):
            at = slot_at(queue, slot) + AT_FLAGS
            puppet.memory.store(at, 2, puppet.memory.load(at, 2) & ~MARKS | marks)

    _each_ring(play, everywhere)


# Marks.


@GROUP.running("used-wrap-inverted", "Used descriptors carry the wrong wrap counter.", rings=PACKED)
def used_wrap_inverted(play: Play) -> None:
    _use(play, lambda q, honest: honest ^ MARKS)


@GROUP.running("used-wrap-flips", "The wrap counter flips with every chain that comes back.", rings=PACKED)
def used_wrap_flips(play: Play) -> None:
    def flip(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        puppet.push(queue, chain, written)
        queue.used ^= WRAP

    play.completing(flip)


@GROUP.running("used-flags-random", "Used descriptors have their marks, and any other flags.", rings=PACKED)
def used_flags_random(play: Play) -> None:
    _use(play, lambda q, honest: honest & MARKS | play.random.getrandbits(16) & ~MARKS)


@GROUP.running("used-marks-random", "Used descriptors have any marks.", rings=PACKED)
def used_marks_random(play: Play) -> None:
    _use(play, lambda q, honest: honest & ~MARKS | play.random.getrandbits(16) & MARKS)


@GROUP.running("used-write-inverted", "WRITE is set where nothing was written, and missing elsewhere.", rings=PACKED)
def used_write_inverted(play: Play) -> None:
    _use(play, lambda q, honest: honest ^ WRITE)


@GROUP.running("used-in-pieces", "Every slot of a chain comes back, not just its first.", rings=PACKED)
def used_in_pieces(play: Play) -> None:
    def pieces(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        for _ in range(chain.step + 1):
            puppet.push_element(queue, chain.head, written)

    play.completing(pieces)


@GROUP.running("used-and-available", "Slots become used, available and used again, over and over.", rings=PACKED)
def used_and_available(play: Play) -> None:
    def waver(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        position, at = queue.used, slot_at(queue, queue.used) + AT_FLAGS
        for _ in range(8):
            write_used(puppet.memory, queue, position, chain.head, written)
            puppet.interrupt(queue)
            puppet.memory.store(at, 2, available_marks(position) | play.random.choice([0, NEXT, WRITE]))
        puppet.push(queue, chain, written)

    play.completing(waver)


@GROUP.running("used-spinning", "The next slots' marks change all the time, whatever happened.", rings=PACKED)
def used_spinning(play: Play) -> None:
    def spin(puppet: Puppet, queue: PuppetQueue) -> None:
        for distance in range(4):
            at = slot_at(queue, moved(queue, queue.used, distance)) + AT_FLAGS
            puppet.memory.store(at, 2, play.random.getrandbits(16) & (MARKS | WRITE))

    _each_ring(play, spin)


# What the driver wrote.


@GROUP.running("descriptor-marks", "Descriptors' AVAIL and USED are inverted here and there.", rings=PACKED)
def descriptor_marks(play: Play) -> None:
    def invert(puppet: Puppet, queue: PuppetQueue) -> None:
        for _ in range(16):
            at = slot_at(queue, play.random.randrange(queue.size)) + AT_FLAGS
            puppet.memory.store(at, 2, puppet.memory.load(at, 2) ^ play.random.getrandbits(16) & MARKS)

    _each_ring(play, invert)


@GROUP.running("descriptor-id", "Ids of available descriptors are overwritten.", rings=PACKED)
def descriptor_id(play: Play) -> None:
    def overwrite(puppet: Puppet, queue: PuppetQueue) -> None:
        for _ in range(16):
            at = slot_at(queue, play.random.randrange(queue.size)) + AT_ID
            puppet.memory.store(at, 2, play.random.choice([play.random.randrange(queue.size), 0xFFFF]))

    _each_ring(play, overwrite)


@GROUP.running("ring-garbage", "All of the ring is random bytes, again and again.", rings=PACKED)
def ring_garbage(play: Play) -> None:
    _each_ring(play, lambda p, q: p.memory.write(q.desc, play.random.randbytes(DESCRIPTOR_SIZE * q.size)))


@GROUP.running("ring-zeroed", "All of the ring is zeroed: used, in every second lap.", rings=PACKED)
def ring_zeroed(play: Play) -> None:
    _each_ring(play, lambda p, q: p.memory.write(q.desc, bytes(DESCRIPTOR_SIZE * q.size)))


@GROUP.running("ring-ones", "All bits of the ring are set: used, in every other lap.", rings=PACKED)
def ring_ones(play: Play) -> None:
    _each_ring(play, lambda p, q: p.memory.write(q.desc, b"\xff" * DESCRIPTOR_SIZE * q.size))


@GROUP.running("ring-swapped", "Slots of the ring change places.", rings=PACKED)
def ring_swapped(play: Play) -> None:
    def swap(puppet: Puppet, queue: PuppetQueue) -> None:
        here, there = (slot_at(queue, play.random.randrange(queue.size)) for _ in range(2))
        words = [puppet.memory.read(at, DESCRIPTOR_SIZE) for at in (there, here)]
        for at, word in zip((here, there), words, strict=True):
            puppet.memory.write(at, word)

    _each_ring(play, swap)


@GROUP.running("length-grows", "Used lengths change after they were shown.", rings=PACKED)
def length_grows(play: Play) -> None:
    def grow(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        at = slot_at(queue, queue.used) + AT_LENGTH
        puppet.push(queue, chain, written)
        puppet.interrupt(queue)
        for _ in range(8):
            puppet.memory.store(at, 4, play.random.getrandbits(32))

    play.completing(grow)


# Event suppression.


def _wishes(play: Play, wish: Callable[[PuppetQueue], int]) -> None:
    """The device's event suppression says this."""
    _each_ring(play, lambda p, q: p.memory.store(q.device, 4, wish(q)))


@GROUP.running("device-event-garbage", "The wish to be notified is random.", rings=PACKED)
def device_event_garbage(play: Play) -> None:
    _wishes(play, lambda q: play.random.getrandbits(32))


@GROUP.running("device-event-reserved", "The wish to be notified has reserved flags.", rings=PACKED)
def device_event_reserved(play: Play) -> None:
    _wishes(play, lambda q: event(RESERVED | play.random.getrandbits(14) << 2, play.random.getrandbits(16)))


@GROUP.running("device-event-outside", "To be notified of slots behind the ring is wished.", rings=PACKED)
def device_event_outside(play: Play) -> None:
    _wishes(play, lambda q: event(DESC, play.random.choice([0, WRAP]) | play.random.randrange(q.size, WRAP)))


@GROUP.running("device-event-disabled", "To be notified is not wished any more.", rings=PACKED)
def device_event_disabled(play: Play) -> None:
    _wishes(play, lambda q: event(DISABLE, 0))


@GROUP.running(
    "driver-event", "The driver's wish to be interrupted, and what follows it, is overwritten.", rings=PACKED
)
def driver_event(play: Play) -> None:
    _each_ring(play, lambda p, q: p.memory.write(q.driver, play.random.randbytes(LINE_SIZE)))


# Who answered what while nobody was there (docs/protocol.md, 7).


@GROUP.running("answered-position", "What a stand-in says of a ring it answered is overwritten.", rings=PACKED)
def answered_position(play: Play) -> None:
    def overwrite(puppet: Puppet, queue: PuppetQueue) -> None:
        puppet.memory.write(puppet.line(queue.index), play.random.randbytes(LINE_SIZE // 2))
        puppet.set_state(play.random.randrange(3))

    _each_ring(play, overwrite)
