# SPDX-License-Identifier: MIT
"""One link's share of the state object: what a killed back-end leaves to its successor (docs/protocol.md, 9)."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import LINE_SIZE, round_up
from ivshmem_virtio.transport.kept_layout import (
    IDENTITY_SIZE,
    LINK_RECORD_SIZE,
    LinkRecord,
    QueueRecord,
    RingLayout,
    queue_record_length,
)
from ivshmem_virtio.transport.queue_state import QueueState

LOST = (LinkRecord.LINK_REFUSED, LinkRecord.LINK_DROPPED, LinkRecord.LINK_DROPPED_BYTES)


class KeptLink:
    """The record of a link at ``offset`` of the mapped object. Every store is atomic; their order is the caller's."""

    def __init__(
        self,
        window: Window,
        offset: int,
        queue_sizes: Sequence[int],
        config_length: int = 0,
        memory_length: int = 0,
    ) -> None:
        self.window = window
        self.queue_sizes = tuple(queue_sizes)
        self.config_length = config_length
        self.memory_length = memory_length
        self._offset = offset
        self._queues: list[int] = []
        end = offset + LINK_RECORD_SIZE
        for size in queue_sizes:
            self._queues.append(end)
            end += queue_record_length(size)
        self._config = end
        self._memory = end + round_up(config_length, LINE_SIZE)
        self._config_kept: bytes | None = None

    @staticmethod
    def length(queue_sizes: Sequence[int], config_length: int = 0, memory_length: int = 0) -> int:
        """Bytes of a link record with its queue records, its configuration space and the memory of its device."""
        queues = sum(map(queue_record_length, queue_sizes))
        return LINK_RECORD_SIZE + queues + round_up(config_length, LINE_SIZE) + round_up(memory_length, LINE_SIZE)

    @classmethod
    def found(cls, window: Window, offset: int) -> KeptLink:
        """The record that ``lay_out`` left at ``offset``; raises OutsideWindow where the object ends too early."""
        sizes = []
        record = offset + LINK_RECORD_SIZE
        for _ in range(window.load32(offset + LinkRecord.LINK_QUEUES)):
            size = window.load32(record + QueueRecord.RING_LARGEST)
            sizes.append(size)
            record += queue_record_length(size)
        config_length = window.load32(offset + LinkRecord.LINK_CONFIG_LENGTH)
        memory_length = window.load64(offset + LinkRecord.LINK_MEMORY_LENGTH)
        kept = cls(window, offset, sizes, config_length, memory_length)
        window.read(kept.end, 0)
        return kept

    def lay_out(self) -> None:
        """Say what the record has room for, so that ``found`` finds it without the device."""
        self.window.store32(self._offset + LinkRecord.LINK_QUEUES, len(self._queues))
        self.window.store32(self._offset + LinkRecord.LINK_CONFIG_LENGTH, self.config_length)
        self.window.store64(self._offset + LinkRecord.LINK_MEMORY_LENGTH, self.memory_length)
        for record, size in zip(self._queues, self.queue_sizes, strict=True):
            self.window.store32(record + QueueRecord.RING_LARGEST, size)

    @property
    def end(self) -> int:
        """First byte behind the record."""
        return self._offset + self.length(self.queue_sizes, self.config_length, self.memory_length)

    def memory(self) -> memoryview:
        """What the device keeps beside the word that is its own."""
        return self.window.view(self._memory, self.memory_length)

    @property
    def epoch(self) -> int:
        """Epoch of the link; 0 = nothing to go on from."""
        return self.window.load64(self._offset + LinkRecord.LINK_EPOCH)

    @property
    def incarnation(self) -> int:
        return self.window.load64(self._offset + LinkRecord.LINK_INCARNATION)

    @property
    def features(self) -> int:
        return self.window.load64(self._offset + LinkRecord.LINK_FEATURES)

    @property
    def status(self) -> int:
        return self.window.load32(self._offset + LinkRecord.LINK_STATUS)

    @property
    def selected(self) -> int | None:
        """Index of the selected queue, None where it is none that there is."""
        plus_one = self.window.load32(self._offset + LinkRecord.LINK_SELECTED)
        return plus_one - 1 if 1 <= plus_one <= len(self._queues) else None

    @property
    def features_selectors(self) -> tuple[int, int]:
        """``device_features_sel`` and ``driver_features_sel``."""
        return (
            self.window.load32(self._offset + LinkRecord.LINK_DEVICE_FEATURES_SEL),
            self.window.load32(self._offset + LinkRecord.LINK_DRIVER_FEATURES_SEL),
        )

    @property
    def device(self) -> int:
        """The word that is the device's own."""
        return self.window.load64(self._offset + LinkRecord.LINK_DEVICE)

    @property
    def tries(self) -> int:
        """Resumptions begun since one came through its first look."""
        return self.window.load32(self._offset + LinkRecord.LINK_TRIES)

    @tries.setter
    def tries(self, count: int) -> None:
        self.window.store32(self._offset + LinkRecord.LINK_TRIES, count)

    @property
    def offered(self) -> int:
        """Device-specific features that the device offers."""
        return self.window.load64(self._offset + LinkRecord.LINK_OFFERED)

    @property
    def identity(self) -> bytes:
        """Of the device that the record is about; with another one nobody goes on from here."""
        return self.window.read(self._offset + LinkRecord.LINK_IDENTITY, IDENTITY_SIZE)

    def change_device(self, identity: bytes, offered: int) -> None:
        """From now on the record is about this one: what is kept of another is forgotten first."""
        self.forget()
        self.window.zero(self._memory, self.memory_length)
        self.window.store64(self._offset + LinkRecord.LINK_OFFERED, offered)
        self.window.write(self._offset + LinkRecord.LINK_IDENTITY, identity)

    @property
    def served(self) -> int:
        """When the device itself was last at work: CLOCK_MONOTONIC, in milliseconds."""
        return self.window.load64(self._offset + LinkRecord.LINK_SERVED)

    @served.setter
    def served(self, milliseconds: int) -> None:
        self.window.store64(self._offset + LinkRecord.LINK_SERVED, milliseconds)

    @property
    def openings(self) -> int:
        """Attempts to open the device that did not end: what its process did."""
        return self.window.load32(self._offset + LinkRecord.LINK_OPENINGS)

    @openings.setter
    def openings(self, count: int) -> None:
        self.window.store32(self._offset + LinkRecord.LINK_OPENINGS, count)

    @property
    def troubled(self) -> bool:
        """Whether the device was reported as not served."""
        return self.window.load32(self._offset + LinkRecord.LINK_TROUBLED) != 0

    @troubled.setter
    def troubled(self, troubled: bool) -> None:
        self.window.store32(self._offset + LinkRecord.LINK_TROUBLED, int(troubled))

    @property
    def lost(self) -> tuple[int, int, int]:
        """Requests refused, buffers of output dropped, and bytes in them, since the device was last at work."""
        refused, dropped, length = (self.window.load64(self._offset + field) for field in LOST)
        return refused, dropped, length

    @lost.setter
    def lost(self, counts: tuple[int, int, int]) -> None:
        for field, count in zip(LOST, counts, strict=True):
            self.window.store64(self._offset + field, count)

    @property
    def config(self) -> bytes:
        """The configuration space as it was last shown."""
        return self.window.read(self._config, self.config_length)

    def keep_config(self, config: bytes) -> None:
        """For who must show it without the device."""
        if config != self._config_kept and len(config) == self.config_length:
            self.window.write(self._config, config)
            self._config_kept = config

    def forget(self) -> None:
        """Nothing is to go on from here: the epoch goes first."""
        self.window.store64(self._offset + LinkRecord.LINK_EPOCH, 0)
        for record in self._queues:
            self.window.store32(record + QueueRecord.RING_ENABLED, 0)

    def begin(self, epoch: int) -> None:
        """From now on a successor goes on with this epoch."""
        self.window.store64(self._offset + LinkRecord.LINK_EPOCH, epoch)

    def keep_driver(self, incarnation: int, features: int, status: int, device: int) -> None:
        """Status last: a DRIVER_OK that is kept comes with the features it is about."""
        self.window.store64(self._offset + LinkRecord.LINK_FEATURES, features)
        self.window.store64(self._offset + LinkRecord.LINK_DEVICE, device)
        self.window.store32(self._offset + LinkRecord.LINK_STATUS, status)
        self.window.store64(self._offset + LinkRecord.LINK_INCARNATION, incarnation)

    def keep_device(self, device: int) -> None:
        """The device's own word, where the driver did not use a transaction to change it."""
        if device != self.device:
            self.window.store64(self._offset + LinkRecord.LINK_DEVICE, device)

    def keep_selection(self, selected: int | None, device_features_sel: int, driver_features_sel: int) -> None:
        self.window.store32(self._offset + LinkRecord.LINK_SELECTED, 0 if selected is None else selected + 1)
        self.window.store32(self._offset + LinkRecord.LINK_DEVICE_FEATURES_SEL, device_features_sel)
        self.window.store32(self._offset + LinkRecord.LINK_DRIVER_FEATURES_SEL, driver_features_sel)

    def keep_queue(self, queue: QueueState) -> None:
        """A queue that is not live is marked so first, one that is comes to be so last."""
        record = self._queues[queue.index]
        if not queue.enabled:
            self.window.store32(record + QueueRecord.RING_ENABLED, 0)
        self.window.store32(record + QueueRecord.RING_LAYOUT, RingLayout.PACKED if queue.packed else RingLayout.SPLIT)
        self.window.store32(record + QueueRecord.RING_SIZE, queue.size)
        self.window.store64(record + QueueRecord.RING_DESC, queue.desc)
        self.window.store64(record + QueueRecord.RING_DRIVER, queue.driver)
        self.window.store64(record + QueueRecord.RING_DEVICE, queue.device)
        self.window.store32(record + QueueRecord.DRIVER_VECTOR, queue.driver_vector)
        if queue.enabled:
            self.window.store32(record + QueueRecord.RING_ENABLED, 1)

    def restore_queue(self, queue: QueueState) -> bool:
        """Give a queue back what its driver chose; whether it was live."""
        record = self._queues[queue.index]
        queue.size = self.window.load32(record + QueueRecord.RING_SIZE)
        queue.desc = self.window.load64(record + QueueRecord.RING_DESC)
        queue.driver = self.window.load64(record + QueueRecord.RING_DRIVER)
        queue.device = self.window.load64(record + QueueRecord.RING_DEVICE)
        queue.driver_vector = self.window.load32(record + QueueRecord.DRIVER_VECTOR)
        return self.enabled(queue.index)

    def enabled(self, index: int) -> bool:
        """Whether a queue was live."""
        return self.window.load32(self._queues[index] + QueueRecord.RING_ENABLED) == 1

    def ring_owner(self, index: int) -> int:
        """Owner word under which the ring of a queue was last written."""
        return self.window.load32(self._queues[index] + QueueRecord.RING_OWNER)

    def in_flight(self, index: int) -> int:
        """Chains of a queue that were taken and not returned; right after a resumption, those to be taken again."""
        return self.window.load32(self._queues[index] + QueueRecord.IN_FLIGHT_COUNT)

    def ring_record(self, index: int) -> tuple[Window, int]:
        """Where the ring of a queue keeps what is in flight in it."""
        return self.window, self._queues[index]
