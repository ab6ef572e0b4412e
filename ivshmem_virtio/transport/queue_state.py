# SPDX-License-Identifier: MIT
"""What the device side knows of one virtqueue, privately: the header only shows a copy."""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio.core import DeviceQueue, Window
from ivshmem_virtio.link.layout import ring_placement
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.transport.queue import Queue
from ivshmem_virtio.transport.ring_share import RingNotFree, RingShare


@dataclass
class QueueState:
    """One queue between reset and reset. Addresses are window offsets, vectors link-relative."""

    index: int
    largest: int
    device_vector: int
    block: int
    share: RingShare | None = None
    size: int = 0
    driver_vector: int = 0
    desc: int = 0
    driver: int = 0
    device: int = 0
    queue: Queue | None = None
    packed: bool = False
    """The layout the driver accepted for all of its queues."""

    def __post_init__(self) -> None:
        self.reset()

    @classmethod
    def missing(cls) -> QueueState:
        """What is shown for a queue index the device does not have."""
        queue = cls(0, 0, 0, 0)
        queue.desc = queue.driver = queue.device = 0
        return queue

    @property
    def enabled(self) -> bool:
        return self.queue is not None

    @property
    def found_owner(self) -> int:
        """Owner word of the ring before it was taken."""
        return self.share.found if self.share is not None else 0

    def hold(self) -> bool:
        """Whether the used ring is ours to write, now if it was not yet."""
        return self.share is None or bool(self.share.word) or self.share.take()

    def clear_owner(self) -> None:
        """The used ring is nobody's, whatever a front-end that is gone has left there. Only after ``reset``."""
        if self.share is not None:
            self.share.clear()

    def reset(self, *, packed: bool = False) -> None:
        """Back to what the host placed, in the layout that is negotiated; the ring is forgotten, and nobody's."""
        if self.share is not None:
            self.share.give_back()
        self.packed = packed
        placed = ring_placement(self.block, self.largest, packed=packed)
        self.size = self.largest
        self.driver_vector = 0
        self.desc, self.driver, self.device = placed.desc, placed.driver, placed.device
        self.queue = None

    def build(
        self,
        window: Window,
        features: int,
        minimum: int,
        record: tuple[Window, int] | None = None,
        *,
        resume: bool = False,
        kept_owner: int = 0,
    ) -> DeviceQueue:
        """The ring as the driver placed it; raises RingViolation or OutsideWindow when it may not lie there.

        ``record``: where the ring keeps what is in flight, ``resume``: to go on from what stands there, which
        the front-end's stand-in may have answered since the owner word was ``kept_owner``.
        """
        where, offset = record or (None, 0)
        share = self.share
        if not self.hold():
            raise RingNotFree(f"queue {self.index}: its used ring belongs to the driver's stand-in")
        answered = resume and self.found_owner != kept_owner
        answered_at = share.answered_at(kept_owner, self.size) if answered and self.packed and share else None
        return DeviceQueue(
            window,
            self.size,
            self.desc,
            self.driver,
            self.device,
            packed=self.packed,
            event_idx=bool(features & Feature.EVENT_IDX),
            indirect=bool(features & Feature.INDIRECT_DESC),
            minimum=minimum,
            record=where,
            record_offset=offset,
            resume=resume,
            answered=answered,
            answered_at=answered_at,
            owner=share.owner if share is not None else 0,
            owner_word=share.word if share is not None else 0,
            hint=share.hint if share is not None else 0,
        )

    def describe(self) -> dict[str, int]:
        """In plain words, as the status file of the service holds it."""
        return {
            "index": self.index,
            "size": self.size,
            "desc": self.desc,
            "driver": self.driver,
            "device": self.device,
            "enabled": int(self.enabled),
            "packed": int(self.packed),
            "device_vector": self.device_vector,
            "driver_vector": self.driver_vector,
            "in_flight": self.queue.ring.in_flight if self.queue is not None else 0,
        }
