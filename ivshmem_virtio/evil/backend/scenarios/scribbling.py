# SPDX-License-Identifier: MIT
"""Random bytes at full speed."""

from __future__ import annotations

from collections.abc import Iterable

from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Group, Play, Rings

GROUP = Group()
SPLASHES = 200


def _splash(play: Play, puppet: Puppet, spare: Iterable[tuple[int, int]]) -> None:
    """Random bytes at random places of a window; ``spare`` are [start, end) to keep out of."""
    spared = list(spare)
    for _ in range(SPLASHES):
        length = play.random.choice([1, 2, 4, 8, 16, 64])
        # Half of it goes where registers and rings are, or little would ever hit them.
        end = puppet.size if play.random.randrange(2) else puppet.memory.size
        at = play.random.randrange(0, max(end - length, 1))
        if not any(at < stop and at + length > start for start, stop in spared):
            puppet.memory.write(at, play.random.randbytes(length))
    for vector in range(puppet.layout.frontend_vectors):
        puppet.ring(vector)


def _tables(puppet: Puppet) -> list[tuple[int, int]]:
    """Where descriptor tables are: their NEXT flags are another matter."""
    return [(queue.desc, queue.desc + 16 * queue.size) for queue in puppet.queues if queue.size]


@GROUP.running("scribble-window", "Random bytes all over the window, descriptor tables left out.")
def scribble_window(play: Play) -> None:
    play.each_turn(lambda p: _splash(play, p, _tables(p)))


@GROUP.running("scribble-window-mute", "The same, and nothing else is done any more.")
def scribble_window_mute(play: Play) -> None:
    for puppet in play.puppets:
        puppet.muted = True
    play.each_turn(lambda p: _splash(play, p, _tables(p)))


@GROUP.running("scribble-registers", "Random bytes all over header and extension.", rings=Rings.BOTH)
def scribble_registers(play: Play) -> None:
    end = 0x4C

    def turn(puppet: Puppet) -> None:
        limit = max(end, puppet.extension + puppet.extension_length)
        for _ in range(SPLASHES):
            at = play.random.randrange(limit)
            puppet.memory.write(at, play.random.randbytes(min(play.random.choice([1, 2, 4, 8]), limit - at)))
        puppet.ring(0)

    play.each_turn(turn)


@GROUP.early("scribble-registers-early", "Random bytes all over header and extension while devices come up.")
def scribble_registers_early(play: Play) -> None:
    scribble_registers(play)


@GROUP.running(
    "scribble-buffers", "Random bytes all over the buffers, rings and registers left alone.", rings=Rings.BOTH
)
def scribble_buffers(play: Play) -> None:
    play.each_turn(lambda p: _splash(play, p, [(0, p.size)]))


@GROUP.running("scribble-state-table", "Random bytes in the State Table.")
def scribble_state_table(play: Play) -> None:
    play.each_turn(lambda p: p.states.write(0, play.random.randbytes(64)))


@GROUP.running(
    "scribble-all", "Random bytes all over the window, descriptor tables included.", writes_next=True, rings=Rings.BOTH
)
def scribble_all(play: Play) -> None:
    play.each_turn(lambda p: _splash(play, p, []))
