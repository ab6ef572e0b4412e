# SPDX-License-Identifier: MIT
"""The region with its directory, a puppet on every link, and the loop that gives each its turn."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from ivshmem_virtio.core import Window
from ivshmem_virtio.evil.backend.acts import ACTS
from ivshmem_virtio.evil.backend.errors import NoLinksToPlay
from ivshmem_virtio.evil.backend.place import Place
from ivshmem_virtio.evil.backend.puppet import Puppet
from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.link.layout import DIRECTORY_SIZE, State
from ivshmem_virtio.service.plan import LinkPlan

BEAT_SECONDS = 0.5
NAP_MILLISECONDS = 2


class Stage:
    """Owns the mapping of the region; the place stays the caller's."""

    def __init__(self, place: Place, links: Sequence[LinkPlan]) -> None:
        """Writes the directory. Raises NoLinksToPlay."""
        self._place = place
        self._plans = [link for link in links if link.layout.device_id in ACTS]
        if not self._plans:
            raise NoLinksToPlay("the configuration has no blk, console, net or rng device to play")
        self.layouts = [replace(link.layout, backend_peer=place.peer_id) for link in self._plans]
        self.region = Window(place.memory, 0, place.size)
        DirectoryWriter(place.memory, place.size).set_up(self.layouts)
        self._directory = self.region.read(0, DIRECTORY_SIZE)
        self.puppets: list[Puppet] = []
        self._poll = select.poll()
        for descriptor in place.vectors:
            self._poll.register(descriptor, select.POLLIN)
        self._next_beat = 0.0
        self.beating = True

    def cast(self, random: Random, *, packed: bool) -> None:
        """A new, obedient puppet for every link, not yet started; on packed rings if the drivers take them."""
        self.beating = True
        self.puppets = [
            Puppet(
                self.region,
                layout,
                ACTS[layout.device_id](link.shape.queue_sizes),
                self._place.ring,
                Random(random.random()),
                packed=packed,
            )
            for layout, link in zip(self.layouts, self._plans, strict=True)
        ]

    def turn(self) -> None:
        """Wait for a doorbell, shortly; then one look at every link."""
        for descriptor, _ in self._poll.poll(NAP_MILLISECONDS):
            try:
                os.eventfd_read(descriptor)
            except BlockingIOError:
                continue
        for puppet in self.puppets:
            puppet.look()
        if self.beating and time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + BEAT_SECONDS
            self._place.refresh()
            for puppet in self.puppets:
                puppet.beat()

    def ring_all(self, vectors: int = 64) -> None:
        """Every vector the guest has, for nothing."""
        for vector in range(vectors):
            self._place.ring(vector)

    def clear(self) -> None:
        """Everybody leaves, and the directory reads as it should."""
        self.region.write(0, self._directory)
        for puppet in self.puppets:
            puppet.stop()

    def close(self) -> None:
        """Leave the region as a killed back-end does."""
        for layout in self.layouts:
            self.region.store32(layout.offset, State.ABSENT)
        self.region.close()
