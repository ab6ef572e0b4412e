# SPDX-License-Identifier: MIT
"""Whether the back-end is there, and whether it is still the one the driver met (docs/protocol.md, 3, 6 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ivshmem_virtio.link.layout import BackendLine, State
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.driver.backend import Backend
from ivshmem_virtio.transport.driver.errors import EpochChanged

HEARTBEAT_SECONDS = 3.0
"""A heartbeat that stands still for so long counts as absence."""


class Liveness:
    """Watches one back-end from the moment its header was read. ``accepted``: states in which it counts as present."""

    def __init__(self, link: Link, backend: Backend, clock: Callable[[], float], accepted: Collection[int]) -> None:
        self._link = link
        self._backend = backend
        self._clock = clock
        self._accepted = accepted
        self._heartbeat = -1
        self._heard = clock()

    def state(self) -> int:
        """The back-end's state now, 0 when it is not to be counted on; raises EpochChanged."""
        state = self._link.other_state()
        extension = self._backend.extension
        if state not in self._accepted:
            return State.ABSENT
        if extension is None:
            return state
        epoch = self._link.window.load64(extension.offset + BackendLine.EPOCH)
        if epoch != extension.epoch:
            # The header is only valid while the state says so: a half-written epoch is absence, not another epoch.
            if self._link.other_state() not in self._accepted:
                return State.ABSENT
            raise EpochChanged(f"back-end epoch {epoch:#x} instead of {extension.epoch:#x}: the device started afresh")
        return state if self._beats(extension.offset + BackendLine.HEARTBEAT) else State.ABSENT

    def _beats(self, offset: int) -> bool:
        heartbeat = self._link.window.load32(offset)
        if heartbeat != self._heartbeat:
            self._heartbeat, self._heard = heartbeat, self._clock()
        return self._clock() - self._heard < HEARTBEAT_SECONDS
