# SPDX-License-Identifier: MIT
"""A hostile back-end and a driver of ours in one thread, over one region: each pause of the driver is a turn of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from ivshmem_virtio.evil.backend.place import Place
from ivshmem_virtio.evil.backend.scenario import Play, Scenario
from ivshmem_virtio.evil.backend.stage import Stage
from ivshmem_virtio.link.layout import FRONTEND
from ivshmem_virtio.peer.doorbells import Doorbells, ring_eventfd
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.service.plan import BACKEND_PEER, FRONTEND_PEER, plan
from ivshmem_virtio.transport.driver.transport import DriverTransport

PAUSE = 0.01
"""Seconds that a pause counts for; it takes as long as a turn does."""

CONFIG = """
[service]
name = "theatre"
runtime_dir = "run"
[[guest]]
name = "guest"
region = "4M"
vectors = 4
[[guest.device]]
type = "blk"
name = "disk"
path = "disk.img"
window = "2M"
"""


class Room(Place):
    """Memory and doorbells that only this process has."""

    def __init__(self, size: int, vectors: int) -> None:
        self.memory, self.size, self.peer_id = os.memfd_create("theatre"), size, BACKEND_PEER
        os.ftruncate(self.memory, size)
        self.vectors = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(vectors)]
        self.guest = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(vectors)]

    def ring(self, vector: int) -> None:
        if vector < len(self.guest):
            ring_eventfd(self.guest[vector])

    def refresh(self) -> None:
        """Nobody comes or goes."""

    def close(self) -> None:
        for descriptor in (*self.vectors, *self.guest, self.memory):
            os.close(descriptor)


class Theatre:
    """One performance on a disk with a queue of ``queue_size``."""

    def __init__(self, folder: Path, scenario: Scenario | None, queue_size: int, seconds: float) -> None:
        (folder / "disk.img").write_bytes(bytes(4096))
        file = folder / "service.toml"
        file.write_text(CONFIG)
        config = load_config(file, images=False)
        made = plan(config, config.guests[0])
        self.room = Room(made.size, made.vectors)
        self.stage = Stage(self.room, made.links)
        random = Random(1)
        self.stage.cast(random, packed=True)
        (self.puppet,) = self.stage.puppets
        self.puppet.act.queue_sizes = [queue_size]
        self.puppet.place()
        self.play = Play(self.stage, random)
        self.scenario = scenario
        self.pauses = 0
        (layout,) = self.stage.layouts
        ringer = Doorbells(self.room.vectors)
        self.link = V1Link.map(self.room.memory, layout, FRONTEND, self.room.guest, ringer, lambda peer: True)
        self.driver = DriverTransport(
            self.link, peer_id=FRONTEND_PEER, seconds=seconds, pause=self._pause, clock=lambda: PAUSE * self.pauses
        )
        if scenario is not None and scenario.early:
            scenario.act(self.play)
        self.puppet.start()

    def begin(self) -> None:
        """From now on it does what the scenario says."""
        if self.scenario is not None and not self.scenario.early:
            self.scenario.act(self.play)

    def _pause(self, _seconds: float) -> None:
        self.pauses += 1
        if self.pauses % 50 == 0:
            self.puppet.beat()
        self.stage.turn()
        for turn in self.play.turns:
            turn()

    def close(self) -> None:
        self.link.close()
        self.stage.close()
        self.room.close()


@contextmanager
def theatre(
    folder: Path, scenario: Scenario | None = None, *, queue_size: int = 8, seconds: float = 0.5
) -> Iterator[Theatre]:
    """A Theatre that is closed at the end."""
    made = Theatre(folder, scenario, queue_size, seconds)
    try:
        yield made
    finally:
        made.close()
