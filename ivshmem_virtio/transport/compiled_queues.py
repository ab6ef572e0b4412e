# SPDX-License-Identifier: MIT
"""The queues of a link that compiled engines serve, on worker threads, while the transport keeps the header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ivshmem_virtio.core import Bell, Engine, PlaneWorker
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.peer.doorbells import Rope
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.doorbell_watch import DoorbellWatch
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.registers import Registers
from ivshmem_virtio.transport.served_device import ServedDevice


@dataclass
class Served:
    """One queue in the hands of an engine. ``kicked``: its doorbell is the worker's to wait for."""

    state: QueueState
    worker: PlaneWorker
    engine: Engine
    bell: Bell
    rope: Rope
    kicked: bool = False


class CompiledQueues:
    """Everything here happens on the transport's loop.

    A doorbell that no other queue and no transaction uses is left to the worker. All others stay with the loop, which
    then says ``wake``. ``stopped`` is called on a worker's thread when an engine cannot go on.
    """

    def __init__(
        self,
        link: Link,
        registers: Registers,
        device: ServedDevice,
        doorbells: DoorbellWatch,
        rate: int,
        stopped: Callable[[QueueState, Engine], None],
    ) -> None:
        self._link = link
        self._registers = registers
        self._device = device
        self._doorbells = doorbells
        self._rate = rate
        self._stopped = stopped
        self._served: dict[int, Served] = {}
        self._seen = 0

    def take_up(self, states: Sequence[QueueState]) -> None:
        """The device is active: give its queues to engines, where it has some and the link allows it."""
        found = [served for state in states if (served := self._engine_for(state)) is not None]
        compiled = {served.state.index for served in found}
        for served in found:
            vector = served.state.device_vector
            sharing = {state.index for state in states if state.enabled and state.device_vector == vector}
            served.kicked = vector != 0 and sharing <= compiled
            self._start(served)

    def _start(self, served: Served) -> None:
        vector = served.state.device_vector
        served.worker.attach(
            served.engine,
            doorbells=[self._link.fileno(vector)] if served.kicked else (),
            doorbell_rate=self._rate,
            watched=served.engine.watched,
            on_stopped=partial(self._stopped, served.state, served.engine),
        )
        self._served[served.state.index] = served
        if served.kicked:
            self._doorbells.leave(vector)

    def _engine_for(self, state: QueueState) -> Served | None:
        if state.queue is None:
            return None
        rope = self._link.bell(state.driver_vector)
        if rope is None:
            return None
        bell = Bell(self._link.window, self._registers.layout.event_byte(state.index), Header.QUEUE_EVENT)
        found = self._device.compiled(state.queue, bell)
        if found is None:
            return None
        worker, engine = found
        bell.hang(rope.descriptor)
        return Served(state, worker, engine, bell, rope)

    def let_go(self) -> None:
        """Returns when no engine touches a ring or a buffer any more."""
        for served in self._served.values():
            served.worker.detach(served.engine)
            if served.kicked:
                self._doorbells.take_back(served.state.device_vector)
        self._served.clear()

    def __contains__(self, state: QueueState) -> bool:
        return state.index in self._served

    def wake(self, state: QueueState) -> None:
        """The driver may have rung for a queue on a doorbell that the loop listens to."""
        self._served[state.index].worker.wake()

    def engine_of(self, state: QueueState) -> Engine | None:
        """Who serves a queue."""
        served = self._served.get(state.index)
        return served.engine if served is not None else None

    def follow_bells(self) -> None:
        """Ring where the driver listens now: its vector may change, and so may the eventfd behind one."""
        for served in self._served.values():
            rope = self._link.bell(served.state.driver_vector)
            if rope is not None and rope != served.rope:
                served.rope = rope
                served.worker.aside(partial(served.bell.hang, rope.descriptor))

    def counters(self, state: QueueState) -> dict[str, int]:
        """What an engine has done and been spared; nothing for a queue that has none."""
        served = self._served.get(state.index)
        if served is None or state.queue is None:
            return {}
        ring = state.queue.ring
        return {
            "chains": ring.chains,
            "bytes": ring.bytes,
            "kicks": served.engine.kicks,
            "rounds": served.engine.rounds,
            "interrupts": served.bell.rung,
            "suppressed": ring.notifications_suppressed,
            **served.engine.counters,
            **{f"worker_{name}": value for name, value in served.worker.counters.items()},
        }

    def moved(self) -> bool:
        """Whether anything was done since this was asked before."""
        now = sum(served.engine.rounds for served in self._served.values())
        before, self._seen = self._seen, now
        return now != before
