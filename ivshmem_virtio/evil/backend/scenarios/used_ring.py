# SPDX-License-Identifier: MIT
"""Lies in the used ring (virtio 1.4, 2.7.8), many of them in used descriptors of packed rings, too."""

from __future__ import annotations

from ivshmem_virtio.evil.backend.chain import Chain
from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.queue import PuppetQueue
from ivshmem_virtio.evil.backend.scenario import Group, Play, Rings

GROUP = Group()


@GROUP.running("used-id-outside", "Used elements name descriptors just behind the table.", rings=Rings.BOTH)
def used_id_outside(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, q.size + play.random.randrange(8), n, c.step))


@GROUP.running("used-id-huge", "Used elements name descriptors far from the table.")
def used_id_huge(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, 0xFFFFFFFF - play.random.randrange(1 << 20), n))


@GROUP.running("used-id-not-in-flight", "Used elements name descriptors that head no chain.", rings=Rings.BOTH)
def used_id_not_in_flight(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, c.head + 1 + play.random.randrange(q.size - 1), n, c.step))


@GROUP.running("used-id-random", "Every second used element names any descriptor.", rings=Rings.BOTH)
def used_id_random(play: Play) -> None:
    play.completing(
        lambda p, q, c, n: p.push_element(q, play.random.choice([c.head, play.random.randrange(q.size)]), n, c.step)
    )


@GROUP.running("used-twice", "Every chain comes back twice.", rings=Rings.BOTH)
def used_twice(play: Play) -> None:
    def twice(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        puppet.push(queue, chain, written)
        puppet.push(queue, chain, written)

    play.completing(twice)


@GROUP.running("used-length-huge", "Used lengths of four gigabytes.", rings=Rings.BOTH)
def used_length_huge(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push(q, c, 0xFFFFFFFF - play.random.randrange(4096)))


@GROUP.running("used-length-zero", "Nothing was written, say the used lengths.", rings=Rings.BOTH)
def used_length_zero(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push(q, c, 0))


@GROUP.running(
    "used-length-beyond-buffer", "Used lengths a little longer than the chain's writable part.", rings=Rings.BOTH
)
def used_length_beyond_buffer(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push(q, c, c.room + 1 + play.random.randrange(4096)))


@GROUP.running("used-length-random", "Used lengths of any size.", rings=Rings.BOTH)
def used_length_random(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push(q, c, play.random.getrandbits(play.random.randrange(1, 32))))


@GROUP.running("used-index-forward", "The used index moves by more than came back.")
def used_index_forward(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, c.head, n, 1 + play.random.randrange(1, q.size)))


@GROUP.running("used-index-backward", "The used index moves back.")
def used_index_backward(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, c.head, n, -play.random.randrange(1, 4)))


@GROUP.running("used-index-leap", "The used index moves by half its range.")
def used_index_leap(play: Play) -> None:
    play.completing(lambda p, q, c, n: p.push_element(q, c.head, n, 0x8000))


@GROUP.running("used-index-spinning", "The used index changes all the time, whatever happened.")
def used_index_spinning(play: Play) -> None:
    def spin(puppet: Puppet) -> None:
        for queue in puppet.queues:
            if queue.enabled:
                puppet.memory.store(queue.device + 2, 2, play.random.getrandbits(16))
                puppet.ring(queue.vector)

    play.each_turn(spin)


@GROUP.running("used-ring-garbage", "All of the used ring is random bytes, again and again.")
def used_ring_garbage(play: Play) -> None:
    def garbage(puppet: Puppet) -> None:
        for queue in puppet.queues:
            if queue.enabled:
                puppet.memory.write(queue.device, play.random.randbytes(4 + 8 * queue.size))
                puppet.ring(queue.vector)

    play.each_turn(garbage)


@GROUP.running("used-before-done", "Chains come back at once, and are written to afterwards.", rings=Rings.BOTH)
def used_before_done(play: Play) -> None:
    late: list[tuple[Puppet, Chain]] = []

    def early(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
        puppet.push(queue, chain, written)
        late.append((puppet, chain))

    def write_later() -> None:
        for puppet, chain in late[:64]:
            for at, length in chain.writable:
                if at + length <= puppet.memory.size:
                    puppet.memory.write(at, play.random.randbytes(min(length, 4096)))
        late.clear()

    play.completing(early)
    play.turns.append(write_later)


@GROUP.running("used-out-of-order", "Chains come back late, in any order.", rings=Rings.BOTH)
def used_out_of_order(play: Play) -> None:
    held: list[tuple[Puppet, PuppetQueue, Chain, int]] = []
    play.completing(lambda p, q, c, n: held.append((p, q, c, n)))

    def release() -> None:
        play.random.shuffle(held)
        while len(held) > 3:
            puppet, queue, chain, written = held.pop()
            puppet.push(queue, chain, written)
            puppet.interrupt(queue)

    play.turns.append(release)


@GROUP.running("never-used", "Nothing ever comes back.", rings=Rings.BOTH)
def never_used(play: Play) -> None:
    play.completing(lambda p, q, c, n: None)


@GROUP.running("used-without-interrupt", "Chains come back, and nobody is told.", rings=Rings.BOTH)
def used_without_interrupt(play: Play) -> None:
    for puppet in play.puppets:
        puppet.silent = True
        play.done += 1


@GROUP.running("event-index-garbage", "The wish to be notified (avail_event, used flags) is random.")
def event_index_garbage(play: Play) -> None:
    def garbage(puppet: Puppet) -> None:
        for queue in puppet.queues:
            if queue.enabled:
                puppet.memory.store(queue.device + 4 + 8 * queue.size, 2, play.random.getrandbits(16))
                puppet.memory.store(queue.device, 2, play.random.getrandbits(16))

    play.each_turn(garbage)
