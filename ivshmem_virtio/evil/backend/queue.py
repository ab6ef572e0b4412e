# SPDX-License-Identifier: MIT
"""A virtqueue of a puppet, and what its layout has to know: where chains begin, and how they go back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from ivshmem_virtio.evil.backend.chain import Chain
from ivshmem_virtio.evil.backend.memory import Memory
from ivshmem_virtio.link.layout import ring_placement


class RingLayout(ABC):
    """Split or packed. Without state of its own: that is the queue's."""

    packed: ClassVar[bool]
    first: ClassVar[int]
    """Where both positions of an empty ring stand."""
    at_flags: ClassVar[int]
    """Offset of the flags in a descriptor."""
    known_flags: ClassVar[int]
    """Those that mean something."""

    @abstractmethod
    def take(self, memory: Memory, queue: PuppetQueue) -> Chain | None:
        """The next chain the driver has made available, bounded whatever stands there; None for none."""

    @abstractmethod
    def ask(self, memory: Memory, queue: PuppetQueue) -> None:
        """Ask to be told of the next chain."""

    @abstractmethod
    def use(self, memory: Memory, queue: PuppetQueue, identity: int, length: int, step: int) -> None:
        """One used element of any content; the used position moves by ``step``."""


@dataclass
class PuppetQueue:
    """One virtqueue; how far it is is kept privately."""

    index: int
    most: int
    block: int
    length: int
    layout: RingLayout
    size: int = 0
    vector: int = 0
    enabled: int = 0
    desc: int = 0
    driver: int = 0
    device: int = 0
    seen: int = 0
    used: int = 0
    kept: list[Chain] = field(default_factory=list)

    def reset(self, layout: RingLayout) -> None:
        """As after a device reset."""
        self.size, self.vector, self.enabled = self.most, 0, 0
        self.lay_out(layout)

    def lay_out(self, layout: RingLayout) -> None:
        """Where its parts lie unless the driver says otherwise."""
        self.layout = layout
        placed = ring_placement(self.block, self.most, packed=layout.packed)
        self.desc, self.driver, self.device = placed.desc, placed.driver, placed.device
        self.begin()

    def begin(self) -> None:
        """An empty ring."""
        self.seen = self.used = self.layout.first
        self.kept = []
