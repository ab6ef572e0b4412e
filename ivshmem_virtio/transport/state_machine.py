# SPDX-License-Identifier: MIT
"""What each write transaction of a driver does: the state machine of a virtio device (virtio 1.4, 2.1, 3.1 and 4.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import IvshmemVirtioError, OutsideWindow, RingViolation
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.features import Status
from ivshmem_virtio.transport.negotiation import Negotiation
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.registers import Registers
from ivshmem_virtio.transport.served_device import ServedDevice
from ivshmem_virtio.transport.transaction import Transaction


class Machinery(Protocol):
    """What the state machine sets in motion."""

    def driver_ready(self) -> None:
        """The device may work, unless it does already."""

    def deactivate(self) -> None:
        """The device is to let go of its queues."""

    def forget_driver(self) -> None:
        """Reset."""

    def open_ring(self, state: QueueState) -> None:
        """Make a queue live; raises RingViolation and OutsideWindow where its ring is not as it must be."""

    def change_queues(self, change: Callable[[], None]) -> None:
        """Change the set of live queues, maybe under an active device."""

    def follow_bells(self) -> None:
        """A driver wants to be rung elsewhere."""

    def give_up(self, violation: IvshmemVirtioError | None) -> None:
        """The driver broke a rule: the device needs a reset."""

    def show_config(self) -> None:
        """Publish the device's configuration."""

    def changed(self) -> None:
        """Something is to be shown to whoever watches the device."""


class StateMachine:
    """Acts on transactions; what they come to is shown in the header, and done by ``machinery``."""

    def __init__(
        self,
        window: Window,
        device: ServedDevice,
        negotiation: Negotiation,
        registers: Registers,
        machinery: Machinery,
        log: logging.Logger,
    ) -> None:
        self._window = window
        self._device = device
        self._now = negotiation
        self._registers = registers
        self._machinery = machinery
        self._log = log

    def act(self, transaction: Transaction) -> None:
        """Carry one out. Raises what the device raises."""
        if transaction.is_config:
            self._write_config(transaction)
            return
        size = transaction.field_size()
        if size is None:
            self._log.warning(
                "transaction on header offset %#x with size %d: no such field", transaction.offset, transaction.size
            )
            return
        value = int.from_bytes(self._window.read(transaction.offset, size), "little")
        self._ACTIONS[transaction.offset](self, value)

    def _select_device_features(self, value: int) -> None:
        self._now.device_features_sel = value
        offered = self._now.offered >> 32 * value if value < 2 else 0
        self._registers.show_features(offered & 0xFFFFFFFF)

    def _select_driver_features(self, value: int) -> None:
        self._now.driver_features_sel = value

    def _set_driver_features(self, value: int) -> None:
        self._now.take_features(value)

    def _select_queue(self, value: int) -> None:
        self._now.selected = self._now.queues[value] if value < len(self._now.queues) else None
        self._registers.show_queue(self._now.selected)

    def _set_queue_size(self, value: int) -> None:
        self._set_queue_field("size", value)

    def _set_driver_vector(self, value: int) -> None:
        # The one field a live queue may change: only where its doorbell goes.
        if self._now.selected is not None:
            self._now.selected.driver_vector = value
            self._machinery.follow_bells()

    def _set_desc(self, value: int) -> None:
        self._set_queue_field("desc", value)

    def _set_driver(self, value: int) -> None:
        self._set_queue_field("driver", value)

    def _set_device(self, value: int) -> None:
        self._set_queue_field("device", value)

    def _set_queue_field(self, field: str, value: int) -> None:
        if self._now.selected is not None and not self._now.selected.enabled:
            setattr(self._now.selected, field, value)

    def _enable_queue(self, value: int) -> None:
        state = self._now.selected
        if state is None:
            return
        if value & 0xFFFF != 1:
            self._reset_queue(state)
        elif not state.enabled:
            self._machinery.change_queues(partial(self._bring_up_queue, state))
        self._registers.show_queue(state)
        self._machinery.changed()

    def _bring_up_queue(self, state: QueueState) -> None:
        try:
            if not self._now.status & Status.FEATURES_OK:
                raise RingViolation(f"queue {state.index} enabled before FEATURES_OK (virtio 1.4, 3.1.1)")
            if not 0 < state.size <= state.largest:
                raise RingViolation(f"queue {state.index} enabled with size {state.size}, largest is {state.largest}")
            self._machinery.open_ring(state)
        except (RingViolation, OutsideWindow) as violation:
            self._machinery.give_up(violation)

    def _reset_queue(self, state: QueueState) -> None:
        """Queue reset (virtio 1.4, 2.6.1)."""
        self._machinery.change_queues(partial(state.reset, packed=self._now.packed))

    def _set_status(self, value: int) -> None:
        value &= 0xFF
        if value == 0:
            self._machinery.forget_driver()
        else:
            status = self._now.next_status(value)
            if status is not None:
                self._advance(status)
        self._registers.show_status(self._now.status)
        self._machinery.changed()

    def _advance(self, status: int) -> None:
        settled = status & ~self._now.status & Status.FEATURES_OK
        if settled and self._now.packed:
            self._lay_out_packed()
        self._now.status = status
        if status & Status.FAILED:
            self._log.warning("driver gave up on the device (FAILED)")
            self._machinery.deactivate()
        elif self._now.ready and not status & Status.NEEDS_RESET:
            self._machinery.driver_ready()

    def _lay_out_packed(self) -> None:
        """The driver has chosen the layout: from now on ring blocks are shown in it."""
        for state in self._now.queues:
            state.reset(packed=True)
        if self._now.selected is not None:
            self._registers.show_queue(self._now.selected)

    def _write_config(self, transaction: Transaction) -> None:
        offset = transaction.offset - Header.CONFIG
        size = self._device.writable_config.get(offset)
        if size is None or transaction.size not in (0, size) or offset + size > len(self._device.config):
            self._log.warning("driver wrote %d bytes at offset %#x of the configuration", transaction.size, offset)
        else:
            self._device.write_config(offset, self._window.read(transaction.offset, size))
        self._machinery.show_config()

    _ACTIONS: dict[int, Callable[[StateMachine, int], None]] = {  # noqa: RUF012 - a constant table
        Header.DEVICE_FEATURES_SEL: _select_device_features,
        Header.DRIVER_FEATURES: _set_driver_features,
        Header.DRIVER_FEATURES_SEL: _select_driver_features,
        Header.QUEUE_SEL: _select_queue,
        Header.QUEUE_SIZE: _set_queue_size,
        Header.QUEUE_DRIVER_VECTOR: _set_driver_vector,
        Header.QUEUE_ENABLE: _enable_queue,
        Header.QUEUE_DESC: _set_desc,
        Header.QUEUE_DRIVER: _set_driver,
        Header.QUEUE_DEVICE: _set_device,
        Header.DEVICE_STATUS: _set_status,
    }
