# SPDX-License-Identifier: MIT
"""How a driver introduces itself to a back-end: states, own line, acknowledgement (docs/protocol.md, 7)."""

from __future__ import annotations

import secrets

from ivshmem_virtio.link.layout import BackendLine, Capability, FrontendLine, State
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.driver.backend import Backend, read_backend
from ivshmem_virtio.transport.driver.errors import AcknowledgementTimedOut, BackendAbsent, BackendLost
from ivshmem_virtio.transport.driver.liveness import Liveness
from ivshmem_virtio.transport.driver.wait import Patience


class Handshake:
    """One driver's side of it. ``capabilities`` 0 makes it a revision-1 driver, which has no line of its own."""

    def __init__(self, link: Link, patience: Patience, capabilities: Capability, peer_id: int | None) -> None:
        self._link = link
        self._patience = patience
        self._capabilities = capabilities
        self._peer_plus_one = 0 if peer_id is None else peer_id + 1
        self._heartbeat = 0
        self.incarnation = 0

    def meet(self, deadline: float) -> tuple[Backend, Liveness]:
        """From nothing to an acknowledged incarnation.

        Raises BackendAbsent, AcknowledgementTimedOut, a BackendViolation, and EpochChanged or BackendLost where the
        back-end changes meanwhile: then it is to be met again.
        """
        link = self._link
        link.set_state(State.ABSENT)
        valid = states_of(self._capabilities)
        if not self._patience.until(lambda: link.other_state() in valid, deadline):
            raise BackendAbsent(
                f"no back-end: its state is {link.other_state()}, waiting for 1; start what serves this link"
            )
        backend = read_backend(link.window, extended=bool(self._capabilities))
        both = self._capabilities & backend.capabilities
        liveness = Liveness(link, backend, self._patience.now, states_of(both))
        self.renew(backend)
        link.set_state(State.READY)
        link.ring(backend.config_vector)
        self._await_acknowledgement(backend, liveness, deadline)
        return backend, liveness

    def renew(self, backend: Backend) -> None:
        """Store a new incarnation, and the rest of the front-end's line; then a full fence."""
        if backend.extension is None:
            return
        window, line = self._link.window, backend.extension.frontend_line
        self.incarnation = secrets.randbits(64) or 1
        window.store32(line + FrontendLine.CAPABILITIES, self._capabilities)
        window.store32(line + FrontendLine.PEER_PLUS_ONE, self._peer_plus_one)
        window.store16(line + FrontendLine.FRONTEND_CONFIG_VECTOR, 0)
        window.store64(line + FrontendLine.INCARNATION, self.incarnation)
        window.fence()

    def acknowledged(self, backend: Backend) -> bool:
        """Whether the back-end works for this incarnation; always so for one without an extension."""
        if backend.extension is None:
            return True
        offset = backend.extension.offset + BackendLine.INCARNATION_ACKNOWLEDGED
        return self._link.window.load64(offset) == self.incarnation

    def beat(self, backend: Backend) -> None:
        """Count the own heartbeat up: the driver is still looking."""
        if backend.extension is not None:
            self._heartbeat = (self._heartbeat + 1) & 0xFFFFFFFF
            self._link.window.store32(backend.extension.frontend_line + FrontendLine.HEARTBEAT, self._heartbeat)

    def _await_acknowledgement(self, backend: Backend, liveness: Liveness, deadline: float) -> None:
        def settled() -> bool:
            if liveness.state() == State.ABSENT:
                raise BackendLost("the back-end went away while the driver introduced itself")
            return self.acknowledged(backend)

        if not self._patience.until(settled, deadline):
            raise AcknowledgementTimedOut(
                f"the back-end does not acknowledge incarnation {self.incarnation:#x}: it is stuck, or takes this peer "
                "for another than the one the link belongs to"
            )


def states_of(capabilities: Capability) -> tuple[State, ...]:
    """Back-end states in which its header is valid for a driver with these capabilities."""
    return (State.READY, State.RESUMING) if Capability.RESUME in capabilities else (State.READY,)
