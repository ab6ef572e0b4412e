# SPDX-License-Identifier: MIT
"""Doorbells that cannot cost more than they may: beyond a rate, nobody listens until the rate has caught up."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence

from ivshmem_virtio.transport.allowance import Allowance

DOORBELL_RATE = 20_000
"""Doorbells a second handled for one link, where nobody says otherwise."""
BURST_SECONDS = 0.02


class DoorbellWatch:
    """Calls ``rung`` with the position of each readable descriptor, ``rate`` times a second at most.

    An eventfd stays readable until it is read, so what is rung meanwhile is seen afterwards: a doorbell may come late,
    not never. At the end of such a pause ``looked`` is called whether something was rung or not.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        descriptors: Sequence[int],
        rung: Callable[[int], None],
        looked: Callable[[], None],
        rate: float,
    ) -> None:
        self.pauses = 0
        """How often doorbells came too fast."""
        self._loop = loop
        self._descriptors = descriptors
        self._rung = rung
        self._looked = looked
        self._allowance = Allowance(rate, BURST_SECONDS)
        self._timer: TimerHandle | None = None
        self._left: set[int] = set()
        self._listening = False

    def start(self) -> None:
        """Listen, once there is no debt."""
        if self._timer is not None:
            return
        self._listening = True
        for position, descriptor in enumerate(self._descriptors):
            if position not in self._left:
                self._loop.add_reader(descriptor, self._readable, position)

    def leave(self, position: int) -> None:
        """Somebody else listens to this one from now on."""
        self._left.add(position)
        if self._listening:
            self._loop.remove_reader(self._descriptors[position])

    def take_back(self, position: int) -> None:
        """Listen to it here again."""
        self._left.discard(position)
        if self._listening:
            self._loop.add_reader(self._descriptors[position], self._readable, position)

    def stop(self) -> None:
        """Listen no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        else:
            self._ignore()

    def spend(self, units: int) -> bool:
        """Something else that the other side caused, worth so many doorbells; whether more of it may follow at once."""
        now = self._loop.time()
        self._allowance.spend(now, units)
        wait = self._allowance.wait(now)
        if wait and self._timer is None:
            self._pause(now + wait)
        return not wait

    def _readable(self, position: int) -> None:
        if self._timer is not None:
            return  # several were readable at once, and the first of them was one too many
        self.spend(1)
        self._rung(position)

    def _pause(self, until: float) -> None:
        self.pauses += 1
        self._ignore()
        self._timer = self._loop.call_at(until, self._resume)

    def _ignore(self) -> None:
        self._listening = False
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)

    def _resume(self) -> None:
        self._timer = None
        self.start()
        self._looked()
