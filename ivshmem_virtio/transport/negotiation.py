# SPDX-License-Identifier: MIT
"""What a driver and a device have agreed on so far; the header only shows a copy (virtio 1.4, 2.1 and 2.2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ivshmem_virtio.transport.features import OFFERED, REQUIRED, Feature, Status
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.served_device import ServedDevice


class Negotiation:
    """Status, feature bits and queue selection between reset and reset."""

    def __init__(self, device: ServedDevice, queues: Sequence[QueueState], log: logging.Logger) -> None:
        self.queues = queues
        self.status = 0
        self.features = 0
        self.selected: QueueState | None = None
        self.device_features_sel = self.driver_features_sel = 0
        self._device = device
        self._log = log

    def reset(self) -> None:
        """Everything but the queues, which end with their rings."""
        self.status = self.features = 0
        self.selected = None
        self.device_features_sel = self.driver_features_sel = 0

    @property
    def offered(self) -> int:
        """All feature bits offered to the driver."""
        # Plain numbers: the complement of a flag has no bits beyond those that have names.
        layouts = Feature.RING_PACKED if self._device.packed else 0
        return int(OFFERED) | int(layouts) | int(self._device.features)

    @property
    def packed(self) -> bool:
        """Whether rings are packed ones."""
        return bool(self.features & Feature.RING_PACKED)

    @property
    def ready(self) -> bool:
        """Whether the driver has said that the device may work."""
        said = Status.DRIVER_OK | Status.FEATURES_OK
        return self.status & (said | Status.FAILED) == said

    def take_features(self, value: int) -> None:
        """The half of the accepted bits that is selected; not any more once they are settled."""
        if self.status & Status.FEATURES_OK or self.driver_features_sel > 1:
            return
        shift = 32 * self.driver_features_sel
        self.features = self.features & ~(0xFFFFFFFF << shift) | value << shift

    def next_status(self, value: int) -> int | None:
        """What the status becomes when the driver writes ``value``, not 0; None where it may not write that."""
        if value & Status.NEEDS_RESET & ~self.status:
            self._log.warning("driver wrote NEEDS_RESET into the status, which is the device's bit")
            return None
        if self.status & ~value & ~Status.NEEDS_RESET:
            self._log.warning(
                "status %#x -> %#x clears bits, which only a reset may (virtio 1.4, 2.1.1)", self.status, value
            )
            return None
        if value & ~self.status & Status.FEATURES_OK and not self._acceptable():
            value &= ~Status.FEATURES_OK
        return self.status | value

    def _acceptable(self) -> bool:
        unknown = self.features & ~self.offered
        missing = REQUIRED & ~self.features
        if unknown or missing:
            self._log.warning(
                "FEATURES_OK refused: accepted but not offered %#x, required but missing %#x", unknown, missing
            )
        return not unknown and not missing

    def keep(self, kept: KeptLink, incarnation: int) -> None:
        """Store what a successor needs to know."""
        for state in self.queues:
            kept.keep_queue(state)
        selected = self.selected.index if self.selected is not None else None
        kept.keep_selection(selected, self.device_features_sel, self.driver_features_sel)
        kept.keep_driver(incarnation, self.features, self.status, self._device.kept)

    def restore(self, kept: KeptLink) -> None:
        """As a predecessor had it, the device too; of the queues only their layout, not yet their rings."""
        self.features, self.status = kept.features, kept.status
        self.device_features_sel, self.driver_features_sel = kept.features_selectors
        self.selected = self.queues[kept.selected] if kept.selected is not None else None
        for state in self.queues:
            state.packed = self.packed
        self._device.restore(kept.device)
