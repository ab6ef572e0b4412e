# SPDX-License-Identifier: MIT
"""One port of a console: moves bytes between its two queues and its sink."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.console_sink import Sink
from ivshmem_virtio.devices.own_time import own_time
from ivshmem_virtio.transport.queue import Queue

READ_AT_ONCE = 64 << 10
IOV_MAX = os.sysconf("SC_IOV_MAX")


class Stage(IntEnum):
    """How far a driver and a port have come with each other (virtio 1.4, 5.3.6.2)."""

    UNKNOWN = 0
    ANNOUNCED = 1
    READY = 2
    OPEN = 3


class Port:
    """The device side of a port; a SinkUser.

    ``number`` counts from 0. Input goes to the driver while it has posted buffers and, where ports can be opened, has
    this one open: a driver throws away what comes for a closed port.
    """

    def __init__(
        self,
        number: int,
        name: str,
        sink: Sink,
        *,
        console: bool,
        most: int,
        on_host_changed: Callable[[Port], None],
        on_size_changed: Callable[[int, int], None],
    ) -> None:
        self.number = number
        self.name = name
        self.sink = sink
        self.console = console
        self.plugged = True
        self.announced = False
        self.ready = False
        self.driver_open = False
        self._receive: Queue | None = None
        self._held: Chain | None = None
        self._held_of: Queue | None = None
        self._most = most
        self._on_host_changed = on_host_changed
        self._on_size_changed = on_size_changed

    @property
    def queues(self) -> tuple[int, int]:
        """Indices of receiveq and transmitq; 2 and 3 belong to the control queues."""
        first = 2 * self.number if self.number == 0 else 2 * self.number + 2
        return first, first + 1

    @property
    def stage(self) -> int:
        """Of a port that can be opened and closed. A driver that has opened a port has it ready."""
        if self.announced and self.driver_open:
            return Stage.OPEN
        return Stage.READY if self.ready else Stage.ANNOUNCED if self.announced else Stage.UNKNOWN

    @stage.setter
    def stage(self, stage: int) -> None:
        self.announced = stage >= Stage.ANNOUNCED
        self.ready = stage >= Stage.READY
        self.driver_open = stage == Stage.OPEN

    @property
    def host_open(self) -> bool:
        """Whether the driver is told that somebody is there; a console says so always and keeps its output."""
        return self.console or self.sink.connected

    def activate(self, receive: Queue | None) -> None:
        """Queues exist. A buffer set aside stays good for as long as its queue lives."""
        self._receive = receive
        if self._held_of is not receive:
            self._held = None
            self._held_of = receive
        self.look_for_input()

    def deactivate(self) -> None:
        """The queues may not be touched any more."""
        self.sink.want_input(False)
        self._receive = None

    def forget_driver(self, *, multiport: bool) -> None:
        """The driver is a new one. Without MULTIPORT there is no opening and closing, and the port is open."""
        self._held = self._held_of = None
        self.announced = self.ready = False
        self.driver_open = not multiport

    def set_driver_open(self, is_open: bool) -> None:
        """The driver opened or closed its side."""
        self.driver_open = is_open
        self.look_for_input()

    def look_for_input(self) -> None:
        """There may be room for input now."""
        self.sink.want_input(self.driver_open and self._receive is not None)

    def transmit(self, chain: Chain) -> None:
        """All of a transmit buffer to the sink, which never makes us wait."""
        if chain.again and chain.sequence <= self.sink.last_sequence:
            return  # the process that was killed got as far as that, but not as far as saying so to the driver
        # More bytes than the window has can only be the same ones again and again.
        length = min(chain.readable_length, self._most)
        for offset in range(0, length, READ_AT_ONCE):
            last = offset + READ_AT_ONCE >= length
            self.sink.write(chain.read(offset, min(READ_AT_ONCE, length - offset)), chain.sequence if last else None)

    def input_ready(self) -> None:
        """The sink has input: one buffer of it to the driver, or wait until there is a buffer."""
        queue = self._receive
        if queue is None:
            self.sink.want_input(False)
            return
        with own_time(self.name, queue):
            self._receive_one(queue)
            return
        self.sink.want_input(False)  # a broken ring; the transport will tell

    def _receive_one(self, queue: Queue) -> None:
        chain = self._held or self._next_with_room(queue)
        self._held = None
        if chain is None:
            self.sink.want_input(False)
            return
        count = self.sink.read_into(chain.writable_views(0, READ_AT_ONCE)[:IOV_MAX])
        if count:
            queue.push(chain, count)
        else:
            self._held = chain

    @staticmethod
    def _next_with_room(queue: Queue) -> Chain | None:
        for _ in range(queue.size):
            chain = queue.pop()
            if chain is None or chain.writable_length:
                return chain
            queue.push(chain, 0)
        return None

    def host_changed(self) -> None:
        """Somebody came or went on the host."""
        self._on_host_changed(self)

    def size_changed(self, columns: int, rows: int) -> None:
        """The terminal on the host was resized; only the size of port 0 is the size of the console."""
        if self.number == 0:
            self._on_size_changed(columns, rows)
