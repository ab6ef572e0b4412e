# SPDX-License-Identifier: MIT
"""Plays one scenario after the other: honest until devices run, then hostile for a while, then gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ivshmem_virtio.evil.backend.interruption import Interruption
from ivshmem_virtio.evil.backend.place import ClientPlace, Place, ServerPlace
from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.evil.backend.scenario import Play, Scenario
from ivshmem_virtio.evil.backend.stage import Stage
from ivshmem_virtio.service.config import Config, GuestConfig
from ivshmem_virtio.service.notify import Readiness
from ivshmem_virtio.service.plan import plan
from ivshmem_virtio.transport.feature_names import device_type
from ivshmem_virtio.transport.features import Status

PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Performance:
    """What happened. ``running``: device types whose driver said DRIVER_OK; ``packed``: those that ran on packed rings;
    ``done``: hostile acts.
    """

    scenario: str
    seed: int
    seconds: float
    waited: float
    running: list[str]
    packed: list[str]
    done: int
    transactions: int
    answered: int


def perform(
    stage: Stage, scenario: Scenario, seed: int, seconds: float, patience: float = PATIENCE_SECONDS
) -> Performance:
    """One scenario. The same seed makes the same choices; what a guest does in between is its own affair."""
    random = Random(f"{seed}:{scenario.name}")
    stage.cast(random, packed=scenario.packed)
    play = Play(stage, random)
    if scenario.early:
        scenario.act(play)
    try:
        for puppet in stage.puppets:
            puppet.start()
        began = time.monotonic()
        if not scenario.early:
            _until_running(stage, began + patience)
            scenario.act(play)
        _until_done(play, began + patience)
        waited = time.monotonic() - began
        _play(play, time.monotonic() + seconds)
    finally:
        stage.clear()
    return Performance(
        scenario.name,
        seed,
        seconds,
        round(waited, 2),
        _types(puppet for puppet in stage.puppets if puppet.reached & Status.DRIVER_OK),
        _types(puppet for puppet in stage.puppets if puppet.ran_packed),
        play.done,
        sum(puppet.transactions for puppet in stage.puppets),
        sum(puppet.answered for puppet in stage.puppets),
    )


def _types(puppets: Iterable[Puppet]) -> list[str]:
    return [device_type(puppet.act.device_id) for puppet in puppets]


def _until_running(stage: Stage, deadline: float) -> None:
    while not all(puppet.running for puppet in stage.puppets) and time.monotonic() < deadline:
        stage.turn()


def _until_done(play: Play, deadline: float) -> None:
    """What waits for a driver to do something begins with it: one that has met worse takes its time to come back."""
    while not play.done and time.monotonic() < deadline:
        _turn(play)


def _play(play: Play, deadline: float) -> None:
    while time.monotonic() < deadline:
        _turn(play)


def _turn(play: Play) -> None:
    play.stage.turn()
    for turn in play.turns:
        turn()


def play_all(
    config: Config,
    guest: GuestConfig,
    scenarios: Sequence[Scenario],
    *,
    socket: Path | None,
    seed: int,
    seconds: float,
    patience: float,
    readiness: Readiness,
    interruption: Interruption,
    show: Callable[[Performance], None],
) -> None:
    """Every scenario in turn, for one guest: behind the server at ``socket``, or as its server.

    Raises NoLinksToPlay, KeyboardInterrupt, and what attaching or serving raises.
    """
    made = plan(config, guest)
    with ExitStack() as cleanup:
        place: Place
        place = ServerPlace(config, guest) if socket is None else ClientPlace(socket, guest.vectors, made.used)
        cleanup.callback(place.close)
        stage = Stage(place, made.links)
        cleanup.callback(stage.close)
        readiness.ready(f"a hostile back-end for {guest.name}")
        cleanup.callback(readiness.stopping)
        for scenario in scenarios:
            with interruption.allowed():
                show(perform(stage, scenario, seed, seconds, patience))
