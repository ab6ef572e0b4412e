# SPDX-License-Identifier: MIT
"""How a back-end takes the place of one that was killed, and goes on with its driver (docs/protocol.md, 7)."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from typing import Protocol

from ivshmem_virtio.errors import IvshmemVirtioError, OutsideWindow, RingViolation
from ivshmem_virtio.link.layout import Capability, State
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.negotiation import Negotiation
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.registers import Registers

STANDIN_SECONDS = 1.0
"""A stand-in that has not given a ring back after so long is not waited for."""
STANDIN_LOOK_SECONDS = 0.01

MOST_TRIES = 5
"""A request that ends the process each time it is redone is given up after so many."""


class Successor(Protocol):
    """The transport that a resumption puts in the place of a predecessor."""

    def begin_afresh(self) -> None:
        """Nothing is gone on with: another epoch."""

    def go_to_work(self) -> None:
        """Look at the link from now on."""

    def open_ring(self, state: QueueState, *, resume: bool, kept_owner: int) -> None:
        """Make a queue live; raises RingViolation and OutsideWindow where its ring is not as it must be."""

    def adopt(self, epoch: int, incarnation: int) -> None:
        """Show the header under the epoch of before, to the front-end of before."""

    def give_up(self, violation: IvshmemVirtioError | None) -> None:
        """The driver broke a rule: the device needs a reset."""

    def serve_transactions(self) -> None:
        """Act on what the driver has posted."""

    def show_config(self) -> None:
        """Publish the device's configuration."""

    def go_on(self, again: int) -> None:
        """Have the device work again, first on the ``again`` chains that were in flight."""


class Resumption:
    """What ``kept`` says of a predecessor, and the way from there to a device that is at work again."""

    def __init__(
        self,
        kept: KeptLink,
        link: Link,
        registers: Registers,
        negotiation: Negotiation,
        successor: Successor,
        loop: AbstractEventLoop,
        log: logging.Logger,
    ) -> None:
        self._kept = kept
        self._link = link
        self._registers = registers
        self._now = negotiation
        self._successor = successor
        self._loop = loop
        self._log = log
        self._timer: TimerHandle | None = None

    def possible(self) -> bool:
        """Whether the driver of a predecessor waits, and there is a point in trying once more."""
        able = self._registers.frontend_capabilities() & Capability.RESUME
        if not self._kept.epoch or not able or self._link.other_state() == State.ABSENT:
            return False
        if self._kept.tries >= MOST_TRIES:
            self._log.error("not resumed: %d processes in a row ended over what is in flight", self._kept.tries)
            return False
        return True

    def start(self) -> None:
        """Only where it is ``possible``. The successor is at work at the end of it, maybe later than this returns."""
        self._kept.tries += 1
        self._link.set_state(State.RESUMING)
        self._come_back(self._loop.time() + STANDIN_SECONDS)

    def stop(self) -> None:
        """Wait for nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _come_back(self, deadline: float) -> None:
        """Go on, as soon as the front-end's stand-in has every ring given back; after ``deadline`` begin afresh."""
        # Pairs with the fence of a driver that resets while nobody answers: either it sees that we are back, or we see
        # its new incarnation.
        self._link.window.fence()
        if self._link.other_state() == State.ABSENT:
            self._successor.begin_afresh()
        elif self._take_rings():
            self._resume()
        elif self._loop.time() < deadline:
            self._timer = self._loop.call_later(STANDIN_LOOK_SECONDS, self._come_back, deadline)
            return
        else:
            self._log.warning("the front-end's stand-in does not give a ring back; beginning afresh")
            self._successor.begin_afresh()
        self._successor.go_to_work()

    def _take_rings(self) -> bool:
        """Become the owner of every ring that is gone on with; a driver that has reset since has none."""
        if self._registers.incarnation() != self._kept.incarnation:
            return True
        return all(state.hold() for state in self._now.queues if self._kept.enabled(state.index))

    def _resume(self) -> None:
        """What the predecessor left is gone on with from here."""
        incarnation = self._kept.incarnation
        same_driver = self._registers.incarnation() == incarnation
        violation = self._restore() if same_driver else None
        self._successor.adopt(self._kept.epoch, incarnation)
        if violation is not None:
            self._successor.give_up(violation)
        if same_driver:
            # A reset that the predecessor did not get to comes before anything it had in flight.
            self._successor.serve_transactions()
        self._successor.show_config()
        self._link.set_state(State.READY)
        if same_driver:
            self._successor.go_on(sum(self._kept.in_flight(state.index) for state in self._now.queues if state.enabled))

    def _restore(self) -> IvshmemVirtioError | None:
        """Private state as the predecessor had it; what speaks against its rings, if something does."""
        violation: IvshmemVirtioError | None = None
        self._now.restore(self._kept)
        for state in self._now.queues:
            if self._kept.restore_queue(state):
                try:
                    self._successor.open_ring(state, resume=True, kept_owner=self._kept.ring_owner(state.index))
                except (RingViolation, OutsideWindow) as found:
                    violation = found
        return violation
