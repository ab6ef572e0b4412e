# SPDX-License-Identifier: MIT
"""The device side of one link: who is there, and what each look does (docs/protocol.md, 7)."""

from __future__ import annotations

import logging
import secrets
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ivshmem_virtio.core import Engine
from ivshmem_virtio.errors import IvshmemVirtioError, OutsideWindow, RingTaken, RingViolation
from ivshmem_virtio.link.layout import Capability, Header, State
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.compiled_queues import CompiledQueues
from ivshmem_virtio.transport.doorbell_watch import DOORBELL_RATE, DoorbellWatch
from ivshmem_virtio.transport.features import Status
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.negotiation import Negotiation
from ivshmem_virtio.transport.queue import Queue
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.registers import Registers
from ivshmem_virtio.transport.resumption import Resumption
from ivshmem_virtio.transport.ring_share import RingShare
from ivshmem_virtio.transport.served_device import ServedDevice
from ivshmem_virtio.transport.state_machine import StateMachine
from ivshmem_virtio.transport.trace import Trace
from ivshmem_virtio.transport.transaction import Transaction

LOOK_SECONDS = 1.0
"""Doorbells may be lost, so every link is looked at this often."""
TRANSACTIONS_PER_LOOK = 64
"""A driver that writes without pause gives way to its neighbours on the worker after so many."""
TRANSACTION_PRICE = 2
INCARNATION_PRICE = 5
"""What they cost beside the doorbell that tells of them, in doorbells: that much more work they are."""


class WindowTooSmall(IvshmemVirtioError):
    """The window of a link does not even hold the registers and rings of its device."""


class DeviceTransport:
    """Serves one device on one link, on the loop it was created for.

    ``look`` is what a wake-up does; it never raises for anything a driver writes. A driver that breaks a rule of the
    rings gets NEEDS_RESET and a log line that names the rule.
    """

    def __init__(
        self,
        link: Link,
        device: ServedDevice,
        loop: AbstractEventLoop,
        *,
        on_change: Callable[[], None] = lambda: None,
        trace: Trace | None = None,
        doorbell_rate: int = DOORBELL_RATE,
    ) -> None:
        self.link = link
        self.device = device
        self._loop = loop
        self._on_change = on_change
        self._trace = trace
        self._log = logging.getLogger(f"ivshmem_virtio.device.{device.name}")
        layout = RegisterMap.of(len(device.config), device.queue_sizes)
        if layout.reserved >= link.window.length:
            raise WindowTooSmall(
                f"device {device.name}: its window of {link.window.length} bytes does not hold {layout.reserved} bytes "
                "of registers and rings; give it a larger window or smaller queues"
            )
        self.registers = Registers(link.window, layout)
        self._queues = [
            QueueState(i, size, self._device_vector(i), layout.ring_block(i)[0], self._share(i))
            for i, size in enumerate(device.queue_sizes)
        ]
        self.epoch = 0
        self._session = secrets.randbits(64) | 1
        self._now = Negotiation(device, self._queues, self._log)
        self._machine = StateMachine(link.window, device, self._now, self.registers, self, self._log)
        self._incarnation = 0
        self._refused: int | None = None
        self._present = False
        self._active = False
        self._timer: TimerHandle | None = None
        self._kept: KeptLink | None = None
        self._resumption: Resumption | None = None
        waiters = [link.fileno(vector) for vector in range(link.vectors)]
        self._doorbells = DoorbellWatch(loop, waiters, self._rung, self.look, doorbell_rate)
        self._compiled = CompiledQueues(
            link, self.registers, device, self._doorbells, doorbell_rate, self._engine_stopped
        )

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self, kept: KeptLink | None = None) -> None:
        """Declare the device ready and begin to serve. The header is published afresh, under a new epoch, unless
        ``kept`` is what a killed predecessor left there: then the device goes on where that was.
        """
        self._kept = kept if self.device.resumable else None
        if self._kept is not None:
            self.registers.capabilities |= Capability.RESUME
            self._resumption = Resumption(self._kept, self.link, self.registers, self._now, self, self._loop, self._log)
            if self._resumption.possible():
                self._resumption.start()
                return
        elif kept is not None:
            kept.forget()
        self.begin_afresh()
        self.go_to_work()

    def go_to_work(self) -> None:
        self._doorbells.start()
        self._tick()
        if self._kept is not None:
            self._kept.tries = 0

    def begin_afresh(self) -> None:
        self.link.set_state(State.ABSENT)
        if self._kept is not None:
            self._kept.forget()
        for state in self._queues:
            state.reset()
        self.epoch = secrets.randbits(64) | 1
        self.registers.publish(self.epoch, self._session, self.device.config, self._queues)
        if self._kept is not None:
            self._keep()
            self._kept.keep_config(self.device.config)
            self._kept.begin(self.epoch)
        self.link.set_state(State.READY)

    def stop(self) -> None:
        """Stop serving and declare the device absent. What is kept stays: a successor goes on."""
        if self._resumption is not None:
            self._resumption.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._doorbells.stop()
        self._kept = None
        self.forget_driver()
        self.link.set_state(State.ABSENT)

    def _start_over(self, taken: RingTaken) -> None:
        """We stood still for so long that a ring was taken from us: what it says is not for us to go on from."""
        self._log.warning("%s; beginning afresh", taken)
        self.forget_driver()
        self._present, self._incarnation = False, 0
        self.begin_afresh()

    def _keep(self) -> None:
        """Store what a successor needs, before a transaction is answered and before the device acts on it."""
        if self._kept is not None:
            self._now.keep(self._kept, self._incarnation)

    def _tick(self) -> None:
        self._look_around()
        self._compiled.follow_bells()
        if self._compiled.moved():
            self.changed()
        # On the full second of the loop's clock, so that one wake-up serves all links of a worker.
        self._timer = self._loop.call_at((self._loop.time() // LOOK_SECONDS + 1) * LOOK_SECONDS, self._tick)

    def _rung(self, vector: int) -> None:
        self.link.acknowledge(vector)
        self.look()

    # -- one look -----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Serve what is there: presence first, then transactions, then queues (docs/protocol.md, 7)."""
        if self._look_around():
            for state in self._queues:
                if state in self._compiled:
                    self._compiled.wake(state)

    def _look_around(self) -> bool:
        """A look that leaves queues with an engine to its worker, which has its own timer; False = nobody is there."""
        if not self._meet_driver():
            return False
        self.serve_transactions()
        for state in self._queues:
            if state not in self._compiled:
                self._serve_queue(state)
        return True

    def _meet_driver(self) -> bool:
        """Whether a driver is there, its incarnation acknowledged."""
        if self.link.other_state() == State.ABSENT:
            if self._present:
                self._log.info("front-end left")
                self._present = False
                self.forget_driver()
                # A front-end that never left, but was declared absent by mistake, learns from it what it has lost. Not
                # one of revision 1, which may have come back and posted a status by now.
                if self.registers.frontend_capabilities():
                    self.registers.show_status(0)
            self._restore_header()
            return False
        self._present = True
        incarnation = self.registers.incarnation()
        if incarnation != self._incarnation:
            claimed = self.registers.claimed_peer()
            if claimed is not None and not self.link.other_peer_is(claimed):
                self._refuse(claimed)
                return False
            self._refused = None
            self._doorbells.spend(INCARNATION_PRICE)
            self.forget_driver()
            self._incarnation = incarnation
            self._keep()
            self._restore_header()
            self.registers.acknowledge(incarnation)
            self._log.info("front-end incarnation %#x", incarnation)
        return True

    def _restore_header(self) -> None:
        """A front-end may have written over anything; the next one is to find what it needs."""
        self.registers.restore(self.epoch, self._session, self.device.config, self._queues)
        for state in self._queues:
            state.clear_owner()
        if self.link.own_state() != State.READY:
            self.link.set_state(State.READY)

    def _refuse(self, claimed: int) -> None:
        """Say once that a front-end claims an id that is not its own: our doorbells would hit another guest."""
        if self._refused != claimed:
            self._refused = claimed
            self._log.warning("front-end claims peer id %d, which this link does not belong to; not served", claimed)

    # -- transactions -------------------------------------------------------------------------------------------------

    def serve_transactions(self) -> None:
        window = self.link.window
        for _ in range(TRANSACTIONS_PER_LOOK):
            word = window.load32(Header.WRITE_TRANSACTION)
            if not word:
                return
            try:
                self._machine.act(Transaction(word))
            except Exception:
                self._log.exception("device failed on a transaction")
                self.give_up(None)
            self._keep()
            # Compare and swap: a late answer must not erase a newer transaction.
            window.compare_exchange32(Header.WRITE_TRANSACTION, word, 0)
            if not self._doorbells.spend(TRANSACTION_PRICE):
                return  # looked at again as soon as its doorbells are
        self._loop.call_soon(self.look)

    # -- queues -------------------------------------------------------------------------------------------------------

    def _share(self, queue: int) -> RingShare:
        layout = self.registers.layout
        return RingShare(self.link.window, layout.queue_line(queue), layout.in_flight_hint(queue))

    def _device_vector(self, queue: int) -> int:
        """Own vector for kicks of a queue: one each while they last, vector 0 for all when there is no other."""
        own = self.link.vectors - 1
        if own == 0 or (queue in self.device.seldom_rung and own < len(self.device.queue_sizes)):
            # With a queue that no engine serves on it, a doorbell would be the loop's for all queues.
            return 0
        return 1 + queue % own

    def _serve_queue(self, state: QueueState) -> None:
        queue = state.queue
        if queue is None or not self._active:
            return
        queue.unfinished = False
        try:
            self.device.handle_queue(queue)
            if self._kept is not None:
                # What the driver has said on a queue is kept before it learns that it was heard.
                self._kept.keep_device(self.device.kept)
            queue.flush()
        except Exception as error:
            self._answer(state, error)
        if queue.unfinished:
            self._loop.call_soon(self._serve_queue, state)

    def _engine_stopped(self, state: QueueState, engine: Engine) -> None:
        """On the thread of a worker."""
        with suppress(RuntimeError):  # the loop is gone, and with it whoever could care
            self._loop.call_soon_threadsafe(self._look_into, state, engine)

    def _look_into(self, state: QueueState, engine: Engine) -> None:
        """An engine cannot go on: unless it was let go meanwhile, do about its ring what has to be done."""
        if self._compiled.engine_of(state) is not engine:
            return
        try:
            engine.check()
        except Exception as error:
            self._answer(state, error)

    def _answer(self, state: QueueState, error: Exception) -> None:
        """What is done about a queue that cannot be served any further."""
        if isinstance(error, RingTaken):
            self._start_over(error)
        elif isinstance(error, (RingViolation, OutsideWindow)):
            self.give_up(error)
        else:
            self._log.error("device failed on queue %d", state.index, exc_info=error)
            self.give_up(None)

    def _notify(self, state: QueueState) -> None:
        self.registers.raise_queue_event(state.index)
        self.link.ring(state.driver_vector)

    def _raise_config_event(self) -> None:
        self.registers.raise_config_event()
        self.link.ring(self.registers.frontend_config_vector())

    # -- what transactions set in motion (Machinery) ------------------------------------------------------------------

    def open_ring(self, state: QueueState, *, resume: bool = False, kept_owner: int = 0) -> None:
        record = self._kept.ring_record(state.index) if self._kept is not None else None
        ring = state.build(
            self.link.window, self.features, self.registers.layout.end, record, resume=resume, kept_owner=kept_owner
        )
        if self._trace is not None:
            self._trace.follow(state.index, ring)
        state.queue = Queue(state.index, ring, partial(self._notify, state))

    def change_queues(self, change: Callable[[], None]) -> None:
        """The device lets go of all and takes up what there is then. A change that breaks a rule leaves it inactive."""
        self._compiled.let_go()
        change()
        self._keep()
        if self._active:
            self.device.deactivate()
            self._activate()

    def driver_ready(self) -> None:
        if not self._active:
            self._active = True
            self._keep()
            self._log.info("driver ready, features %#x", self.features)
            self._activate()

    def _activate(self) -> None:
        self.device.activate(self)
        self._compiled.take_up(self._queues)

    def follow_bells(self) -> None:
        self._compiled.follow_bells()

    def changed(self) -> None:
        self._on_change()

    def give_up(self, violation: IvshmemVirtioError | None) -> None:
        """The driver broke a rule: stop the device until it is reset (virtio 1.4, 2.1.2)."""
        if violation is not None:
            self._log.error("%s; the device needs a reset", violation)
        self.deactivate()
        self._now.status |= Status.NEEDS_RESET
        self._keep()
        self.registers.show_status(self.status)
        self._raise_config_event()
        self.changed()

    def deactivate(self) -> None:
        if self._active:
            self._active = False
            self._compiled.let_go()
            self.device.deactivate()

    def forget_driver(self) -> None:
        """Reset private state only: a transaction that a quick reload has posted already must survive."""
        self.deactivate()
        self._now.reset()
        for state in self._queues:
            state.reset()
        self._keep()
        self.changed()

    def show_config(self) -> None:
        if self._kept is not None:
            self._kept.keep_config(self.device.config)
        self.registers.show_config(self.device.config)

    # -- what a resumption sets in motion (Successor) -----------------------------------------------------------------

    def adopt(self, epoch: int, incarnation: int) -> None:
        self._present = True
        self.epoch, self._incarnation = epoch, incarnation
        self.registers.publish_again(epoch, self._session, len(self.device.config), self._queues)
        self.registers.acknowledge(incarnation)
        self.registers.continue_generation()

    def go_on(self, again: int) -> None:
        """Doorbells that the predecessor took, or did not give, are made up for."""
        if self.status & Status.NEEDS_RESET:
            self.registers.show_status(self.status)
        elif self._now.ready and not self._active:
            self._active = True
            try:
                self._activate_again(again)
            except RingViolation as violation:
                self.give_up(violation)
            except Exception:
                self._log.exception("device failed on going on")
                self.give_up(None)
        self._raise_config_event()
        for state in self._queues:
            if state.queue is not None:
                self._notify(state)
        self.changed()

    def _activate_again(self, again: int) -> None:
        rings = [state.queue.ring for state in self._queues if state.queue is not None]
        self.device.activate(self)
        waiting = [ring.enable_notifications() for ring in rings]
        self._compiled.take_up(self._queues)
        self._log.info(
            "resumed, features %#x, %d chains again, %d of %d queues busy",
            *(self.features, again, sum(waiting), len(rings)),
        )

    # -- what a device sees (DriverHandle) ----------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """Device status as it is, whatever the header shows."""
        return self._now.status

    @property
    def features(self) -> int:
        return self._now.features

    @property
    def offered(self) -> int:
        """All feature bits offered to the driver."""
        return self._now.offered

    @property
    def queues(self) -> Sequence[Queue | None]:
        return [state.queue for state in self._queues]

    def config_changed(self) -> None:
        self.show_config()
        self._raise_config_event()

    # -- for the inspector --------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Private state in plain words, as the status file of the service holds it."""
        return {
            "name": self.device.name,
            "device_id": self.device.device_id,
            "epoch": self.epoch,
            "incarnation": self._incarnation,
            "offered": self.offered,
            "features": self.features,
            "status": self.status,
            "queues": [{**state.describe(), "counters": self._compiled.counters(state)} for state in self._queues],
        }
