# SPDX-License-Identifier: MIT
"""Transactions that end wrongly or not at all, features and status that change (docs/protocol.md, 5)."""

from __future__ import annotations

import time

from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Group, Play
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.features import Feature, Status

GROUP = Group()
# Inverting a flag by `~` would leave only as many bits as there are flags.
NOT_PACKED = (1 << 64) - 1 ^ Feature.RING_PACKED


@GROUP.early("transaction-unanswered", "No transaction is ever answered.")
def transaction_unanswered(play: Play) -> None:
    play.transacting(lambda p, word: None)


@GROUP.running("transaction-unanswered-later", "A new device under a running driver, no transaction answered any more.")
def transaction_unanswered_later(play: Play) -> None:
    play.transacting(lambda p, word: None)
    for puppet in play.puppets:
        # A driver that runs has nothing to say; one that has lost its device resets it, and begins again.
        puppet.start()


@GROUP.early("transaction-sometimes", "Every third transaction is answered.")
def transaction_sometimes(play: Play) -> None:
    def sometimes(puppet: Puppet, word: int) -> None:
        if play.random.randrange(3) == 0:
            puppet.carry_out(word)

    play.transacting(sometimes)


@GROUP.early("transaction-uncompared", "The word is cleared whatever stands in it, before and after the act.")
def transaction_uncompared(play: Play) -> None:
    def blindly(puppet: Puppet, word: int) -> None:
        puppet.memory.store(Header.WRITE_TRANSACTION, 4, 0)
        puppet.act_on(word & 0xFFFF)
        puppet.memory.store(Header.WRITE_TRANSACTION, 4, 0)

    play.transacting(blindly)


@GROUP.early("transaction-ignored", "Words are cleared, and nothing was done.")
def transaction_ignored(play: Play) -> None:
    play.transacting(lambda p, word: p.memory.store(Header.WRITE_TRANSACTION, 4, 0))


@GROUP.early("transaction-garbage", "The answer to a transaction is another word.")
def transaction_garbage(play: Play) -> None:
    def garbage(puppet: Puppet, word: int) -> None:
        puppet.memory.store(Header.WRITE_TRANSACTION, 4, play.random.getrandbits(32) | 1)

    play.transacting(garbage)


@GROUP.running("transaction-word-never-clear", "The transaction word is never 0.")
def transaction_word_never_clear(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.muted = True
        puppet.memory.store(Header.WRITE_TRANSACTION, 4, play.random.getrandbits(32) | 1)

    play.each_turn(turn)


@GROUP.early("transaction-slow", "Every transaction takes long.")
def transaction_slow(play: Play) -> None:
    pending: dict[int, float] = {}

    def slowly(puppet: Puppet, word: int) -> None:
        now = time.monotonic()
        if now >= pending.setdefault(id(puppet) ^ word, now + play.random.random() * 0.5):
            puppet.carry_out(word)

    play.transacting(slowly)


@GROUP.early("transaction-state-change", "The State Table entry changes while a transaction is served.")
def transaction_state_change(play: Play) -> None:
    def change(puppet: Puppet, word: int) -> None:
        puppet.set_state(play.random.choice([1, 2]))
        puppet.carry_out(word)

    play.transacting(change)


@GROUP.early("features-random", "Any features are offered, the two that must be among them.")
def features_random(play: Play) -> None:
    for puppet in play.puppets:
        # Without packed rings: this back-end would not find what is in them.
        puppet.act.features = play.random.getrandbits(64) & NOT_PACKED
        play.done += 1


@GROUP.early("features-packed", "Packed rings are offered, and treated as split ones.")
def features_packed(play: Play) -> None:
    for puppet in play.puppets:
        puppet.act.features |= Feature.RING_PACKED
        play.done += 1


@GROUP.early("features-none", "Not even VERSION_1 is offered.")
def features_none(play: Play) -> None:
    play.lie(Header.DEVICE_FEATURES, 0)


@GROUP.running("features-change", "Features and their selectors change after negotiation.")
def features_change(play: Play) -> None:
    play.each_turn(lambda p: p.memory.write(Header.DEVICE_FEATURES, play.random.randbytes(16)))


@GROUP.early("features-refused", "FEATURES_OK never stays.")
def features_refused(play: Play) -> None:
    def refuse(puppet: Puppet, word: int) -> None:
        puppet.act_on(word & 0xFFFF)
        status = puppet.memory.load(Header.DEVICE_STATUS, 4)
        puppet.memory.store(Header.DEVICE_STATUS, 4, status & ~Status.FEATURES_OK)
        puppet.memory.exchange(Header.WRITE_TRANSACTION, word, 0)

    play.transacting(refuse)


@GROUP.running("needs-reset-storm", "NEEDS_RESET again and again, each time with a configuration change.")
def needs_reset_storm(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.memory.store(Header.DEVICE_STATUS, 4, puppet.status | Status.NEEDS_RESET)
        puppet.memory.store(Header.CONFIG_EVENT, 1, 1)
        puppet.ring(0)

    play.each_turn(turn)


@GROUP.running("status-zero", "The status reads 0 under running devices.")
def status_zero(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(Header.DEVICE_STATUS, 4, 0))


@GROUP.early("status-garbage", "The status reads as anything at any time.")
def status_garbage(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(Header.DEVICE_STATUS, 4, play.random.getrandbits(32)))
