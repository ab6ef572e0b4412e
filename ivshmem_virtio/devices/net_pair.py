# SPDX-License-Identifier: MIT
"""One pair of queues of a network device, and its own way out."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial

from ivshmem_virtio.core import Bell, Engine, NetPort, PlaneWorker
from ivshmem_virtio.devices.net_queues import RECEIVE, direction
from ivshmem_virtio.devices.net_via import Via
from ivshmem_virtio.errors import OutsideWindow, RingViolation
from ivshmem_virtio.transport.queue import Queue


class Pair:
    """A ``Port``. ``on_link`` is told when its way out comes up and goes down."""

    def __init__(self, name: str, mac: bytes, via: Via, on_link: Callable[[bool], None]) -> None:
        self.name = name
        self.mac = mac
        self.core = NetPort()
        self.via = via
        self._on_link = on_link
        self._loop: AbstractEventLoop | None = None
        self._transmit: Queue | None = None

    def open(self, loop: AbstractEventLoop) -> None:
        """Acquire the host's side; raises ViaError."""
        self._loop = loop
        self.via.open(loop, self)

    def close(self) -> None:
        """Give it back; also where ``open`` failed."""
        self.forget_driver()
        self.via.aside(self.core.forget_buffers)
        self.via.close()

    def activate(
        self, receive: Queue | None, transmit: Queue | None, features: int, *, mergeable: bool, longest: int
    ) -> None:
        """A driver is at work, with these queues; ``longest``: bytes of a frame that it is given at most."""
        self._transmit = transmit
        attach = partial(
            self.core.attach,
            receive.ring if receive is not None else None,
            receive.notify if receive is not None else None,
            transmit.ring if transmit is not None else None,
            transmit.notify if transmit is not None else None,
            features=features,
            mergeable=mergeable,
            longest=longest,
            held=self.via.threaded,
        )
        self.via.aside(attach)
        self.via.set_features(features)

    def forget_driver(self) -> None:
        """No ring is touched from now on."""
        self._transmit = None
        self.via.aside(self.core.detach)

    def deactivate(self) -> None:
        """Reset. Buffers set aside stay known: the reset of another queue alone (virtio 1.4, 2.6.1) hands this very
        queue back, and the driver would wait for them for ever. After any other reset the queue is a new one.
        """
        self.forget_driver()
        self.via.set_features(0)
        self.via.resume()

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        """Who serves a queue of this pair in the place of ``handle_queue``."""
        return self.via.compiled(queue, bell)

    def handle_queue(self, queue: Queue) -> None:
        """The driver may have made buffers available; raises what a broken ring raises."""
        # A rule may have been found broken while a frame arrived, where nobody listens: here the transport does.
        self.core.check()
        if direction(queue.index) == RECEIVE:
            # Buffers are taken when a frame needs them; until then a kick for each refill would tell us nothing.
            queue.ring.disable_notifications()
            self.via.aside(self.core.begin)
            self.via.resume()
            self.core.check()
        elif self.via.ready:
            self.via.transmit_from(queue)

    def transmit_again(self) -> None:
        """The way out has room: go on where the ring was left; by own hand, as no kick is due."""
        queue = self._transmit
        if queue is None or self.core.stopped or self._loop is None or not self.via.ready:
            return
        try:
            self.via.transmit_from(queue)
        except (RingViolation, OutsideWindow):
            self.core.stop()
            return
        if queue.unfinished:
            queue.unfinished = False
            self._loop.call_soon(self.transmit_again)

    def link_changed(self, up: bool) -> None:
        """Of this way out."""
        if up != self.core.link_up:
            self.core.link_up = up
            self._on_link(up)
