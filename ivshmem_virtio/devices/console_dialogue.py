# SPDX-License-Identifier: MIT
"""What device and driver tell each other about the ports of a console (virtio 1.4, 5.3.6.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.console_control import MESSAGE, SIZE, ControlOutbox, Event, messages
from ivshmem_virtio.devices.console_port import Port
from ivshmem_virtio.devices.own_time import own_time
from ivshmem_virtio.transport.queue import Queue

_log = logging.getLogger("ivshmem_virtio.device.console")

KEPT_STAGE = 3
KEPT_DRIVER_READY = 1 << 62


class PortDialogue:
    """Over both control queues, with a driver that has accepted MULTIPORT. ``size``: columns and rows of port 0."""

    def __init__(self, name: str, ports: Sequence[Port], size: Callable[[], tuple[int, int]]) -> None:
        self._name = name
        self._ports = ports
        self._size = size
        self._outbox = ControlOutbox()
        self._queue: Queue | None = None
        self._tell_size = False
        self._driver_ready = False
        self.active = False
        """Between ``begin`` and ``end``."""

    # -- with whom ----------------------------------------------------------------------------------------------------

    def begin(self, queue: Queue | None, *, tell_size: bool) -> None:
        """There is a driver, which may be that of before; ``queue`` has its buffers for messages."""
        self.active = True
        self._queue = queue
        self._tell_size = tell_size

    def end(self) -> None:
        """The queue may not be touched any more."""
        self.active = False
        self._queue = None

    def forget(self) -> None:
        """The next driver is a new one."""
        self._driver_ready = False
        self._outbox.clear()

    @property
    def kept(self) -> int:
        """What was said: two bits for each port, and whether the driver said that it is ready.

        A port that the driver was not told of yet counts as unknown to it: it is told once more.
        """
        if not self.active:
            return 0
        known = sum(port.stage << 2 * port.number for port in self._ports if not self._unannounced(port))
        return known | KEPT_DRIVER_READY * self._driver_ready

    def _unannounced(self, port: Port) -> bool:
        return (port.number, Event.DEVICE_ADD) in self._outbox

    def go_on(self, kept: int) -> None:
        """What the killed process knew of the driver; what may not have been said any more is said again."""
        if not self.active:
            return
        self._driver_ready = bool(kept & KEPT_DRIVER_READY)
        for port in self._ports:
            port.stage = kept >> 2 * port.number & KEPT_STAGE
            if port.ready:
                self._introduce(port)
            elif self._driver_ready:
                self._announce(port)

    # -- what the driver says -----------------------------------------------------------------------------------------

    def hear(self, queue: Queue) -> None:
        """Take what it has sent, and answer."""
        for chain in queue.chains():
            for number, event, value in messages(chain.read(0, MESSAGE.size)):
                self._obey(number, event, value)
            queue.push(chain, 0)
        self.deliver()

    def _obey(self, number: int, event: int, value: int) -> None:
        if event == Event.DEVICE_READY:
            self._device_ready(value)
            return
        if number >= len(self._ports) or not self._ports[number].announced:
            _log.debug("%s: control event %d for port %d, which the driver does not have", self._name, event, number)
            return
        port = self._ports[number]
        if event == Event.PORT_READY:
            self._port_ready(port, value)
        elif event == Event.PORT_OPEN:
            port.set_driver_open(value != 0)
        else:
            _log.debug("%s: control event %d is not one a driver sends", self._name, event)

    def _device_ready(self, value: int) -> None:
        if not value:
            _log.warning("%s: the driver could not set up the device", self._name)
            return
        self._driver_ready = True
        for port in self._ports:
            self._announce(port)

    def _port_ready(self, port: Port, value: int) -> None:
        if not value:
            _log.warning("%s: the driver could not set up port %s", self._name, port.name)
            return
        port.ready = True
        self._introduce(port)

    # -- what it is told ----------------------------------------------------------------------------------------------

    def host_changed(self, port: Port) -> None:
        """Somebody came to a port, or went, on the host."""
        if self.active and port.ready and not port.console:
            self._outbox.add(port.number, Event.PORT_OPEN, int(port.host_open))
            self.deliver()

    def size_changed(self) -> None:
        """The console has another size."""
        self._send_size()
        self.deliver()

    def plug_changed(self, port: Port) -> None:
        """A port was taken away from the guest, or given back."""
        if self.active and port.plugged:
            self._announce(port)
        elif self.active and port.announced:
            self._retract(port)
        self.deliver()

    def _announce(self, port: Port) -> None:
        """A port that exists must not be added again (virtio 1.4, 5.3.6.2.1)."""
        if port.plugged and not port.announced:
            port.announced = True
            self._outbox.add(port.number, Event.DEVICE_ADD)

    def _retract(self, port: Port) -> None:
        port.announced = port.ready = False
        port.set_driver_open(False)
        unsent = self._outbox.withdraw_port(port.number)
        if Event.DEVICE_REMOVE in unsent or Event.DEVICE_ADD not in unsent:
            self._outbox.add(port.number, Event.DEVICE_REMOVE)

    def _introduce(self, port: Port) -> None:
        """What a driver wants to know of a port; to hear it twice does no harm."""
        if port.console:
            self._outbox.add(port.number, Event.CONSOLE_PORT, 1)
            self._send_size()
        else:
            self._outbox.add(port.number, Event.PORT_NAME, 1, port.name.encode())
        if port.host_open:
            self._outbox.add(port.number, Event.PORT_OPEN, 1)

    def _send_size(self) -> None:
        if self.active and self._ports[0].ready and self._tell_size:
            self._outbox.add(0, Event.RESIZE, 0, SIZE.pack(*self._size()))

    def deliver(self) -> None:
        """Messages into the driver's buffers, as many as there are of both."""
        if self._queue is not None:
            with own_time(self._name, self._queue):
                self._deliver(self._queue)

    def _deliver(self, queue: Queue) -> None:
        for _ in range(len(self._outbox)):
            chain = queue.pop()
            if chain is None:
                return
            queue.push(chain, self._write_message(chain))

    def _write_message(self, chain: Chain) -> int:
        message = self._outbox.take()
        if chain.writable_length < len(message):
            _log.warning("%s: control buffer of %d bytes is too small", self._name, chain.writable_length)
            return 0
        return chain.write(0, message)
