# SPDX-License-Identifier: MIT
"""Interrupts for nothing, and events that nothing brought about (docs/protocol.md, 8)."""

from __future__ import annotations

from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Group, Play
from ivshmem_virtio.link.layout import Header

GROUP = Group()


def _storm(play: Play) -> None:
    for _ in range(50):
        play.stage.ring_all()
        play.done += 1


@GROUP.running("interrupt-storm", "Every vector rings at full speed, for nothing.")
def interrupt_storm(play: Play) -> None:
    play.turns.append(lambda: _storm(play))


@GROUP.early("interrupt-storm-early", "Every vector rings at full speed while devices come up.")
def interrupt_storm_early(play: Play) -> None:
    play.turns.append(lambda: _storm(play))


@GROUP.running("event-bytes", "Event bytes of all queues and the shared one, for nothing.")
def event_bytes(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.memory.write(puppet.event_bytes, play.random.randbytes(len(puppet.queues)))
        puppet.memory.store(Header.QUEUE_EVENT, 1, play.random.getrandbits(8))
        for vector in range(puppet.layout.frontend_vectors):
            puppet.ring(vector)

    play.each_turn(turn)


@GROUP.running("config-event-storm", "The configuration changes at every turn, with its doorbell.")
def config_event_storm(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        for _ in range(10):
            puppet.memory.store(Header.CONFIG_EVENT, 1, 1)
            puppet.ring(0)

    play.each_turn(turn)


@GROUP.running("storm-while-absent", "Absent, and ringing at full speed.")
def storm_while_absent(play: Play) -> None:
    for puppet in play.puppets:
        puppet.muted = True
        puppet.set_state(0)
    play.turns.append(lambda: _storm(play))
