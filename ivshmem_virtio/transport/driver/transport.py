# SPDX-License-Identifier: MIT
"""The driver side of the header: brings a device up, sets its queues up, and goes on after an absence.

It is synchronous: every operation sleeps in bounded steps until the back-end has answered, or raises one of the errors
of ``errors``. The back-end is not trusted: each value it publishes is read once and checked before use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ivshmem_virtio.link.layout import Capability, Header, State
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.driver.backend import Backend
from ivshmem_virtio.transport.driver.config import ConfigSpace
from ivshmem_virtio.transport.driver.errors import (
    AcknowledgementTimedOut,
    BackendAbsent,
    BackendLost,
    ConfigOutOfRange,
    DeviceNeedsReset,
    DriverError,
    EpochChanged,
    FeatureMissing,
    FeaturesRefused,
    NotBroughtUp,
    QueueNotReset,
    RequestTimedOut,
    ResetRefused,
)
from ivshmem_virtio.transport.driver.handshake import Handshake
from ivshmem_virtio.transport.driver.liveness import Liveness
from ivshmem_virtio.transport.driver.pool import Pool
from ivshmem_virtio.transport.driver.queue import DriverVirtqueue, Request
from ivshmem_virtio.transport.driver.queue_setup import QueueSetup
from ivshmem_virtio.transport.driver.transaction import Transactions
from ivshmem_virtio.transport.driver.wait import Patience
from ivshmem_virtio.transport.features import OFFERED, REQUIRED, Feature, Status

EVERYTHING = Capability.HOST_PLACED_RINGS | Capability.RESUME | Capability.SIZED_TRANSACTIONS | Capability.EVENT_BYTES
"""What this driver can do beyond revision 1."""
DEFAULT_SECONDS = 5.0
RESET_TRIES = 8
RECHECK_SECONDS = 1.0
"""Doorbells may be lost: while something is pending, the driver looks again this often."""


class DriverTransport:
    """Drives the device of one link: ``bring_up``, ``negotiate``, ``setup_queue``, ``ready``, use, ``close``.

    ``peer_id``: own ivshmem peer id, told to the back-end. ``capabilities``: what this side claims beyond revision 1, 0
    for a plain revision-1 driver. ``seconds`` bounds every single wait. ``packed``: packed rings are used if offered.
    ``pause`` replaces every sleep, for tests in which the device shares the thread.
    """

    def __init__(
        self,
        link: Link,
        *,
        peer_id: int | None = None,
        capabilities: Capability = EVERYTHING,
        seconds: float = DEFAULT_SECONDS,
        packed: bool = True,
        pause: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.link = link
        self.seconds = seconds
        self.packed = packed
        self.features = 0
        """Feature bits in use, 0 before ``negotiate``."""
        self.queues: dict[int, DriverVirtqueue] = {}
        self._claimed = capabilities
        self._patience = Patience(pause, clock)
        self._handshake = Handshake(link, self._patience, capabilities, peer_id)
        self._met: tuple[Backend, Liveness] | None = None
        self._away = False
        self._live = False

    # -- life ---------------------------------------------------------------------------------------------------------

    def bring_up(self, seconds: float | None = None) -> None:
        """Meet the back-end and reset the device; anything of before is forgotten. Waits ``seconds`` for it to appear.

        Raises BackendAbsent, AcknowledgementTimedOut, TransactionTimedOut or a BackendViolation.
        """
        deadline = self._deadline(seconds)
        while True:
            self._forget()
            try:
                self._met = self._handshake.meet(deadline)
                self._begin()
                self._reset_device()
                break
            except (EpochChanged, BackendLost):
                if self._patience.now() >= deadline:
                    raise
                self._patience.nap()
        self.add_status(Status.ACKNOWLEDGE)
        self.add_status(Status.DRIVER)

    def _begin(self) -> None:
        backend, window = self.backend, self.link.window
        self.pool = Pool(backend.size, window.length)
        self.config = ConfigSpace(window, backend.config_length, self._patience)
        self.capabilities = backend.capabilities & self._claimed
        self._transactions = Transactions(
            self.link,
            self._patience,
            self._standing,
            sized=Capability.SIZED_TRANSACTIONS in self.capabilities,
            vector=backend.config_vector,
        )

    def _forget(self) -> None:
        self._met = None
        self._drop_queues()

    def _drop_queues(self) -> None:
        for queue in self.queues.values():
            queue.abandon()
        self.queues.clear()
        self.features = 0
        self._live = False

    def reset(self) -> None:
        """Reset the device (virtio 1.4, 2.4.1); queues and features are gone afterwards.

        Where no back-end answers, a new incarnation makes the reset known to the next one, which is to acknowledge it
        before anything else. Raises ResetRefused, TransactionTimedOut, EpochChanged.
        """
        try:
            self._reset_device()
        except BackendAbsent:
            self._handshake.renew(self.backend)
            if self.backend.extension is not None and self._liveness.state() != State.ABSENT:
                self._standing(self._deadline(None))
        self._drop_queues()

    def _reset_device(self) -> None:
        """Write status 0 until it reads 0: the device may have set NEEDS_RESET over it (docs/protocol.md, 5)."""
        for _ in range(RESET_TRIES):
            self.write_register(Header.DEVICE_STATUS, 0)
            if self.status == 0:
                return
        raise ResetRefused(f"device status reads {self.status:#x} after {RESET_TRIES} resets: it must read 0")

    def close(self) -> None:
        """Reset the device if somebody answers, then leave the link. Never raises for an absent or stuck back-end."""
        try:
            if self._met is not None:
                self._reset_device()
        except DriverError:
            pass
        finally:
            self._forget()
            self.link.set_state(State.ABSENT)

    # -- who is there -------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """The header as it was when the back-end was met; raises NotBroughtUp."""
        return self._meeting()[0]

    @property
    def _liveness(self) -> Liveness:
        return self._meeting()[1]

    def _meeting(self) -> tuple[Backend, Liveness]:
        if self._met is None:
            raise NotBroughtUp("bring_up comes first: the driver has not met a back-end")
        return self._met

    def present(self) -> bool:
        """Whether the back-end is there and works for this driver; raises EpochChanged, BackendLost.

        Back after an absence, every queue is rung once: doorbells of before may be lost.
        """
        if self._liveness.state() == State.ABSENT:
            self._away = True
            if self.backend.extension is None:
                raise BackendLost("the back-end went away; without an epoch nothing of before is valid any more")
            return False
        if not self._handshake.acknowledged(self.backend):
            return False
        if self._away:
            self._away = False
            for queue in self.queues.values():
                queue.ring_always()
        return True

    def _standing(self, deadline: float) -> tuple[int, int]:
        if self._patience.until(self.present, deadline):
            return self.link.other_state(), self.backend.epoch
        if self._liveness.state() == State.ABSENT:
            raise BackendAbsent("the back-end went away and did not come back in time")
        raise AcknowledgementTimedOut(f"incarnation {self._handshake.incarnation:#x} is not acknowledged")

    def check(self) -> None:
        """What the re-check timer of a driver does; raises EpochChanged, BackendLost, DeviceNeedsReset."""
        self.link.acknowledge(0)
        self._handshake.beat(self.backend)
        if self.present() and self.status & Status.NEEDS_RESET:
            raise DeviceNeedsReset(
                f"device status is {self.status:#x}: the device found an error of the driver and needs a reset"
            )

    # -- registers ----------------------------------------------------------------------------------------------------

    def write_register(self, field: int, value: int) -> None:
        """One transaction on a header field.

        Raises TransactionTimedOut, BackendAbsent, EpochChanged, FieldNotWritable.
        """
        self._meeting()
        self._transactions.field(field, value, self.seconds)

    @property
    def status(self) -> int:
        """Device status as the back-end shows it (virtio 1.4, 2.1)."""
        return self.link.window.load32(Header.DEVICE_STATUS) & 0xFF

    def add_status(self, bits: int) -> None:
        """Set bits of the device status; NEEDS_RESET is the device's and never written."""
        self.write_register(Header.DEVICE_STATUS, (self.status | bits) & ~Status.NEEDS_RESET)

    def device_features(self) -> int:
        """All 64 feature bits the device offers."""
        features = 0
        for word in (1, 0):
            self.write_register(Header.DEVICE_FEATURES_SEL, word)
            features |= self.link.window.load32(Header.DEVICE_FEATURES) << 32 * word
        return features

    def negotiate(self, wanted: int = 0) -> int:
        """Accept what is offered of ``wanted`` and of the transport's own bits; returns all bits accepted.

        Raises FeatureMissing, FeaturesRefused (virtio 1.4, 3.1.1).
        """
        offered = self.device_features()
        if REQUIRED & ~offered:
            self.add_status(Status.FAILED)
            raise FeatureMissing(
                f"device offers features {offered:#x} without VERSION_1 (bit 32) and ACCESS_PLATFORM (bit 33)"
            )
        layouts = Feature.RING_PACKED if self.packed else 0
        accepted = int(offered & (wanted | OFFERED | layouts))
        for word in (1, 0):
            self.write_register(Header.DRIVER_FEATURES_SEL, word)
            self.write_register(Header.DRIVER_FEATURES, accepted >> 32 * word & 0xFFFFFFFF)
        self.add_status(Status.FEATURES_OK)
        if not self.status & Status.FEATURES_OK:
            self.add_status(Status.FAILED)
            raise FeaturesRefused(f"device does not accept features {accepted:#x} of the {offered:#x} it offers")
        self.features = accepted
        return accepted

    def read_config(self, offset: int, length: int) -> bytes:
        """Part of the configuration space; raises ConfigOutOfRange, ConfigUnstable."""
        self._meeting()
        return self.config.read(offset, length, self.seconds)

    def write_config(self, offset: int, value: bytes) -> None:
        """Write 1, 2, 4 or 8 bytes of the configuration, once features are negotiated (virtio 1.4, 3.1.1).

        Raises NotBroughtUp, ConfigOutOfRange and what a transaction raises.
        """
        self._meeting()
        if not self.features:
            raise NotBroughtUp("negotiate comes first: the configuration must not be written before FEATURES_OK")
        self.config.check(offset, len(value))
        if len(value) not in (1, 2, 4, 8):
            raise ConfigOutOfRange(f"{len(value)} bytes of configuration in one write: only 1, 2, 4 or 8 can be")
        self._transactions.write(Header.CONFIG + offset, value, self.seconds)

    def config_changed(self) -> bool:
        """Whether the device raised its configuration event since the last call."""
        changed = self.link.window.load8(Header.CONFIG_EVENT) != 0
        if changed:
            self.link.window.store8(Header.CONFIG_EVENT, 0)
            self.link.window.fence()
        return changed

    # -- queues -------------------------------------------------------------------------------------------------------

    def setup_queue(self, index: int, *, size: int | None = None, host_placed: bool = True) -> DriverVirtqueue:
        """Enable a queue of ``size`` descriptors (the largest by default).

        ``host_placed``: adopt the ring block of the host where there is one, else use room of the own pool. Raises
        QueueMissing, QueueBusy, QueueSizeRefused, QueueRefused, PoolExhausted or a BackendViolation.
        """
        queue = QueueSetup(self, index).run(size, host_placed)
        self.queues[index] = queue
        return queue

    def reset_queue(self, index: int) -> None:
        """Reset one queue (virtio 1.4, 2.6.1); its requests are abandoned. Raises QueueNotReset."""
        self.write_register(Header.QUEUE_SEL, index)
        self.write_register(Header.QUEUE_ENABLE, 0)
        if self.link.window.load16(Header.QUEUE_ENABLE):
            raise QueueNotReset(f"queue {index} still reads as enabled after its reset; its buffers may be in use")
        queue = self.queues.pop(index, None)
        if queue is not None:
            queue.abandon()

    def ready(self) -> None:
        """DRIVER_OK: the device may use the queues from now on."""
        self.add_status(Status.DRIVER_OK)
        self._live = True
        for queue in self.queues.values():
            if queue.outstanding:
                queue.ring_always()
        self.check()

    def ring_queue(self, vector: int) -> None:
        """Ring the back-end for a queue; not before DRIVER_OK (virtio 1.4, 3.1.1)."""
        if self._live:
            self.link.ring(vector)

    def wait(self, queue: DriverVirtqueue, seconds: float | None = None) -> list[Request]:
        """Requests that came back, at least one; sleeps until then.

        An absent back-end is waited for. Raises RequestTimedOut, EpochChanged, BackendLost, DeviceNeedsReset or a
        RingViolation.
        """
        deadline = self._deadline(seconds)
        files = {self.link.fileno(0), self.link.fileno(queue.vector)}
        while True:
            self.link.acknowledge(queue.vector)
            returned = queue.collect()
            if returned:
                return returned
            self.check()
            left = deadline - self._patience.now()
            if left <= 0:
                raise RequestTimedOut(
                    f"queue {queue.index}: {queue.outstanding} requests are out and none came back in time"
                    + (", the back-end is absent" if self._away else "")
                )
            if not queue.arm():
                self._patience.readable(files, min(left, RECHECK_SECONDS))

    def complete(self, queue: DriverVirtqueue, request: Request, seconds: float | None = None) -> Request:
        """Kick, and wait until ``request`` is back; others that come back meanwhile are finished, too."""
        queue.kick()
        deadline = self._deadline(seconds)
        while request.written is None:
            self.wait(queue, deadline - self._patience.now())
        return request

    def _deadline(self, seconds: float | None) -> float:
        return self._patience.now() + (self.seconds if seconds is None else seconds)


@contextmanager
def brought_up(
    link: Link,
    *,
    peer_id: int,
    capabilities: Capability = EVERYTHING,
    seconds: float = DEFAULT_SECONDS,
) -> Iterator[DriverTransport]:
    """The driver side of a link whose back-end was met; both are closed at the end. Raises what ``bring_up`` raises."""
    transport = DriverTransport(link, peer_id=peer_id, capabilities=capabilities, seconds=seconds)
    try:
        transport.bring_up()
        yield transport
    finally:
        transport.close()
        link.close()
