# SPDX-License-Identifier: MIT
"""Lies about being there: states, epochs, incarnations, heartbeats (docs/protocol.md, 3, 6 and 7)."""

from __future__ import annotations

from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Group, Play, Rings
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, BackendLine, Header, State

GROUP = Group()


def _word(play: Play, field: BackendLine, values: list[int] | None = None) -> None:
    """Another value of a 64-bit word of the back-end's line at every turn."""

    def turn(puppet: Puppet) -> None:
        value = play.random.choice(values) if values else play.random.getrandbits(64)
        puppet.memory.store(puppet.extension + field, 8, value)

    play.each_turn(turn)


@GROUP.running("epoch-changes", "Another epoch at every look.", rings=Rings.BOTH)
def epoch_changes(play: Play) -> None:
    _word(play, BackendLine.EPOCH)


@GROUP.early("epoch-changes-early", "Another epoch at every look, from the start.")
def epoch_changes_early(play: Play) -> None:
    _word(play, BackendLine.EPOCH)


@GROUP.running("epoch-zero", "The epoch becomes 0.")
def epoch_zero(play: Play) -> None:
    _word(play, BackendLine.EPOCH, [0])


@GROUP.running("epoch-flickers", "The epoch is the right one every second time.")
def epoch_flickers(play: Play) -> None:
    play.each_turn(lambda p: p.memory.store(p.extension + BackendLine.EPOCH, 8, play.random.choice([p.epoch, 1])))


@GROUP.running("session-changes", "A new process at every look.")
def session_changes(play: Play) -> None:
    _word(play, BackendLine.SESSION)


@GROUP.running("state-flaps", "Absent, ready and resuming in turn, each time with a doorbell.", rings=Rings.BOTH)
def state_flaps(play: Play) -> None:
    play.each_turn(lambda p: p.set_state(play.random.randrange(3)))


@GROUP.early("state-flaps-early", "Absent, ready and resuming in turn, from the start.")
def state_flaps_early(play: Play) -> None:
    play.each_turn(lambda p: p.set_state(play.random.randrange(3)))


@GROUP.running("state-garbage", "States that do not exist.")
def state_garbage(play: Play) -> None:
    play.each_turn(lambda p: p.set_state(play.random.getrandbits(32)))


@GROUP.running("resuming-for-ever", "Resuming, and never done with it.", rings=Rings.BOTH)
def resuming_for_ever(play: Play) -> None:
    for puppet in play.puppets:
        puppet.muted = True
        puppet.set_state(State.RESUMING)
        play.done += 1


@GROUP.running(
    "absent-and-back", "Gone in the middle of everything, and back with the same epoch and old rings.", rings=Rings.BOTH
)
def absent_and_back(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        state = play.random.choice([State.ABSENT, State.READY, State.READY])
        if puppet.states.load(4 * BACKEND, 4) != state:
            puppet.set_state(state)
        puppet.muted = state == State.ABSENT

    play.each_turn(turn)


@GROUP.early("incarnation-never-acknowledged", "A driver is never acknowledged.")
def incarnation_never_acknowledged(play: Play) -> None:
    for puppet in play.puppets:
        puppet.lies[puppet.extension + BackendLine.INCARNATION_ACKNOWLEDGED] = 0
        play.done += 1


@GROUP.running("incarnation-flickers", "The acknowledged incarnation changes all the time.")
def incarnation_flickers(play: Play) -> None:
    _word(play, BackendLine.INCARNATION_ACKNOWLEDGED)


@GROUP.running("heartbeat-stops", "No heartbeat any more, everything else goes on.")
def heartbeat_stops(play: Play) -> None:
    play.stage.beating = False
    play.done += 1


@GROUP.running("heartbeat-races", "The heartbeat counts at full speed, nothing is served.")
def heartbeat_races(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.muted = True
        puppet.beat()

    play.each_turn(turn)


@GROUP.running("mute", "There, with a heartbeat, and silent.", rings=Rings.BOTH)
def mute(play: Play) -> None:
    for puppet in play.puppets:
        puppet.muted = True
        play.done += 1


@GROUP.running("frontend-entry", "The driver's own State Table entry is overwritten.")
def frontend_entry(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.states.store(4 * FRONTEND, 4, play.random.choice([0, 2, 0xFFFFFFFF]))
        puppet.muted = True

    play.each_turn(turn)


@GROUP.running("restarts", "A new back-end, fresh header and all, every few turns.", rings=Rings.BOTH)
def restarts(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        if play.random.randrange(20) == 0:
            puppet.start()

    play.each_turn(turn)


@GROUP.running("header-zeroed", "Header and extension are zeroed while the state is ready.", rings=Rings.BOTH)
def header_zeroed(play: Play) -> None:
    def turn(puppet: Puppet) -> None:
        puppet.muted = True
        puppet.memory.write(Header.REVISION, bytes(puppet.extension + puppet.extension_length))
        puppet.ring(0)

    play.each_turn(turn)
