# SPDX-License-Identifier: MIT
"""virtio-console (device id 3): a console and, with MULTIPORT, any number of named ports (virtio 1.4, 5.3)."""

from __future__ import annotations

import logging
import struct
from asyncio import AbstractEventLoop
from collections.abc import Mapping, Sequence
from enum import IntFlag
from typing import ClassVar

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.console_control import MESSAGE, SIZE, ControlOutbox, Event, messages
from ivshmem_virtio.devices.console_output import OutputBuffer
from ivshmem_virtio.devices.console_port import Port
from ivshmem_virtio.devices.console_spec import SinkSpec, make_sink
from ivshmem_virtio.devices.device import Device, DeviceError, DriverHandle
from ivshmem_virtio.devices.own_time import own_time
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.transport.queue import Queue

_log = logging.getLogger("ivshmem_virtio.device.console")

CONFIG = struct.Struct("<HHII")
EMERG_WRITE_OFFSET = 8
CONTROL_RECEIVE = 2
CONTROL_TRANSMIT = 3
CONTROL_QUEUE_SIZE = 32
KEPT_STAGE = 3
KEPT_DRIVER_READY = 1 << 62
MOST_PORTS = 31  # what a stock Linux driver numbers as vport0p0 ... vport0p30


class Feature(IntFlag):
    """Feature bits of the console."""

    SIZE = 1 << 0
    MULTIPORT = 1 << 1
    EMERG_WRITE = 1 << 2


class PortUnknown(DeviceError):
    """No port of that name, or one that cannot be plugged: the console itself stays."""


class ConsoleOptionInvalid(DeviceError):
    """A setting of a console makes no sense."""


class Console(Device):
    """A console.

    ``via`` says what port 0, the console, is on the host. ``ports`` adds ports, each a name the guest sees under
    /dev/virtio-ports and what it is on the host; with any of them the device offers MULTIPORT.
    """

    device_id: ClassVar[int] = 3
    writable_config: Mapping[int, int] = {EMERG_WRITE_OFFSET: 4}

    def __init__(
        self,
        name: str,
        *,
        via: SinkSpec = "pty",
        ports: Sequence[tuple[str, SinkSpec]] = (),
        columns: int = 80,
        rows: int = 25,
        queue_size: int = 64,
        window: int,
    ) -> None:
        super().__init__(name)
        self._check(columns, rows, [port for port, _ in ports])
        self.size = (columns, rows)
        self._queue_size = queue_size
        self._window = window
        self.ports = [self._port(0, "console", via)]
        self.ports += [self._port(i, port, spec) for i, (port, spec) in enumerate(ports, start=1)]
        self._multiport_offered = bool(ports)
        self._by_queue = {index: port for port in self.ports for index in port.queues}
        self._outbox = ControlOutbox()
        self._control: Queue | None = None
        self._driver: DriverHandle | None = None
        self._known_queues: list[Queue | None] = []
        self._multiport = False
        self._driver_ready = False
        self._restored = 0

    def _check(self, columns: int, rows: int, names: list[str]) -> None:
        if not (0 < columns < 1 << 16 and 0 < rows < 1 << 16):
            raise ConsoleOptionInvalid(
                f"console {self.name}: {columns} columns and {rows} rows are no size of a terminal"
            )
        if len(names) > MOST_PORTS - 1:
            raise ConsoleOptionInvalid(f"console {self.name}: {len(names)} extra ports, {MOST_PORTS - 1} are the most")
        if len(set(names)) != len(names) or not all(names):
            raise ConsoleOptionInvalid(f"console {self.name}: port names {names} are not all different and not empty")

    def _port(self, number: int, name: str, spec: SinkSpec) -> Port:
        console = number == 0
        return Port(
            number,
            name,
            make_sink(spec, history=console),
            console=console,
            most=self._window,
            on_host_changed=self._host_changed,
            on_size_changed=self.resize,
        )

    @property
    def features(self) -> int:
        """Feature bits offered."""
        return Feature.SIZE | Feature.EMERG_WRITE | (Feature.MULTIPORT if self._multiport_offered else 0)

    @property
    def queue_sizes(self) -> Sequence[int]:
        """receiveq and transmitq of port 0, then both control queues, then a pair for each further port."""
        size = self._queue_size
        if not self._multiport_offered:
            return [size, size]
        return [size, size, CONTROL_QUEUE_SIZE, CONTROL_QUEUE_SIZE, *[size] * (2 * (len(self.ports) - 1))]

    @property
    def identity(self) -> str:
        """The ports by name: with others, what the driver was told is not so."""
        return ",".join(port.name for port in self.ports)

    @property
    def kept(self) -> int:
        """What was said on the control queues: two bits for each port, and whether the driver said that it is ready.

        A port that the driver was not told of yet counts as unknown to it: it is told once more.
        """
        if self._driver is None or not self._multiport:
            return 0
        known = sum(port.stage << 2 * port.number for port in self.ports if not self._unannounced(port))
        return known | KEPT_DRIVER_READY * self._driver_ready

    def _unannounced(self, port: Port) -> bool:
        return (port.number, Event.DEVICE_ADD) in self._outbox

    def restore(self, kept: int) -> None:
        """As of ``kept``, once the driver's queues are there."""
        self._restored = kept

    @property
    def kept_length(self) -> int:
        """Output that the host has not taken yet."""
        return OutputBuffer.LENGTH * len(self.ports)

    def keep_in(self, memory: memoryview) -> None:
        """A buffer for each port."""
        for port in self.ports:
            start = OutputBuffer.LENGTH * port.number
            port.sink.keep_in(OutputBuffer(memory[start : start + OutputBuffer.LENGTH]))

    @property
    def config(self) -> bytes:
        """struct virtio_console_config."""
        return CONFIG.pack(*self.size, len(self.ports), 0)

    @property
    def dropped(self) -> int:
        """Bytes of output that the host did not take in time, over all ports."""
        return sum(port.sink.dropped for port in self.ports)

    def write_config(self, offset: int, data: bytes) -> None:
        """``emerg_wr``: one character of a guest that has no queues yet, or none any more (virtio 1.4, 5.3.5)."""
        if offset == EMERG_WRITE_OFFSET:
            self.ports[0].sink.write(data[:1])

    @property
    def resources(self) -> Sequence[Resource]:
        """What the sinks of all ports need."""
        return [resource for port in self.ports for resource in port.sink.resources]

    def open(self, loop: AbstractEventLoop) -> None:
        """Set up every sink; raises SinkUnusable."""
        for port in self.ports:
            port.sink.open(loop, port, f"{self.name}.{port.name}" if self._multiport_offered else self.name)

    def close(self) -> None:
        """Take down every sink."""
        self._forget_driver()
        for port in self.ports:
            port.sink.close()

    def resize(self, columns: int, rows: int) -> None:
        """The console has another size."""
        if (columns, rows) == self.size or not (0 < columns < 1 << 16 and 0 < rows < 1 << 16):
            return
        self.size = (columns, rows)
        if self._driver is not None and self._driver.features & Feature.SIZE:
            self._driver.config_changed()
            self._send_size()
            self._deliver_on_own_time()

    # -- driver -------------------------------------------------------------------------------------------------------

    def activate(self, driver: DriverHandle) -> None:
        """Ports may be used; with MULTIPORT once the driver has said that it is ready."""
        self._driver = driver
        self._multiport = bool(driver.features & Feature.MULTIPORT)
        queues = list(driver.queues)
        if not self._is_known(queues):
            self._forget_driver()
        self._known_queues = queues
        restored, self._restored = self._restored, 0
        if restored and any(queue is not None and queue.ring.resumed for queue in queues):
            # Else the driver was reset meanwhile, and knows nothing.
            self._go_on(restored)
        if self._multiport:
            self._control = queues[CONTROL_RECEIVE]
        for port in self.ports if self._multiport else self.ports[:1]:
            port.activate(queues[port.queues[0]])

    def _go_on(self, kept: int) -> None:
        """What the killed process knew of the driver; what may not have been said any more is said again."""
        if not self._multiport:
            return
        self._driver_ready = bool(kept & KEPT_DRIVER_READY)
        for port in self.ports:
            port.stage = kept >> 2 * port.number & KEPT_STAGE
            if port.ready:
                self._introduce(port)
            elif self._driver_ready:
                self._announce(port)

    def _is_known(self, queues: list[Queue | None]) -> bool:
        """After the reset of single queues (virtio 1.4, 2.6.1) the others are those of before, and so is the driver."""
        return any(new is not None and new is old for new, old in zip(queues, self._known_queues, strict=False))

    def _forget_driver(self) -> None:
        self._known_queues = []
        self._driver_ready = False
        self._outbox.clear()
        for port in self.ports:
            port.forget_driver(multiport=self._multiport)

    def deactivate(self) -> None:
        """Reset: the host side keeps what it has, input waits there."""
        for port in self.ports:
            port.deactivate()
        self._driver = self._control = None
        self._multiport = False

    def handle_queue(self, queue: Queue) -> None:
        """Output goes out at once, whatever the host does with it; receive buffers mean that input is welcome."""
        if queue.index == CONTROL_TRANSMIT and self._multiport_offered:
            self._hear(queue)
            self._deliver_on_own_time()
        elif queue.index == CONTROL_RECEIVE and self._multiport_offered:
            self._deliver_on_own_time()
        else:
            self._serve_port(self._by_queue[queue.index], queue)

    def _serve_port(self, port: Port, queue: Queue) -> None:
        if queue.index == port.queues[0]:
            port.look_for_input()
            return
        for chain in queue.chains():
            port.transmit(chain)
            queue.push(chain, 0)

    # -- control ------------------------------------------------------------------------------------------------------

    def _hear(self, queue: Queue) -> None:
        for chain in queue.chains():
            for number, event, value in messages(chain.read(0, MESSAGE.size)):
                self._obey(number, event, value)
            queue.push(chain, 0)

    def _obey(self, number: int, event: int, value: int) -> None:
        if event == Event.DEVICE_READY:
            self._device_ready(value)
            return
        if number >= len(self.ports) or not self.ports[number].announced:
            _log.debug("%s: control event %d for port %d, which the driver does not have", self.name, event, number)
            return
        port = self.ports[number]
        if event == Event.PORT_READY:
            self._port_ready(port, value)
        elif event == Event.PORT_OPEN:
            port.set_driver_open(value != 0)
        else:
            _log.debug("%s: control event %d is not one a driver sends", self.name, event)

    def _device_ready(self, value: int) -> None:
        if not value:
            _log.warning("%s: the driver could not set up the device", self.name)
            return
        self._driver_ready = True
        for port in self.ports:
            self._announce(port)

    def _announce(self, port: Port) -> None:
        """A port that exists must not be added again (virtio 1.4, 5.3.6.2.1)."""
        if port.plugged and not port.announced:
            port.announced = True
            self._outbox.add(port.number, Event.DEVICE_ADD)

    def _port_ready(self, port: Port, value: int) -> None:
        if not value:
            _log.warning("%s: the driver could not set up port %s", self.name, port.name)
            return
        port.ready = True
        self._introduce(port)

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
        if self._multiport and self.ports[0].ready and self._driver and self._driver.features & Feature.SIZE:
            self._outbox.add(0, Event.RESIZE, 0, SIZE.pack(*self.size))

    def _host_changed(self, port: Port) -> None:
        if self._multiport and port.ready and not port.console:
            self._outbox.add(port.number, Event.PORT_OPEN, int(port.host_open))
            self._deliver_on_own_time()

    def plug(self, name: str, *, plugged: bool) -> None:
        """Take a port away from the guest, or give it back. Raises PortUnknown."""
        port = next((p for p in self.ports if p.name == name and not p.console), None)
        if port is None:
            known = ", ".join(p.name for p in self.ports if not p.console) or "none"
            raise PortUnknown(f"console {self.name} has no port {name!r} to plug: {known}")
        if port.plugged == plugged:
            return
        port.plugged = plugged
        if self._multiport and plugged:
            self._announce(port)
        elif self._multiport and port.announced:
            self._retract(port)
        self._deliver_on_own_time()

    def _retract(self, port: Port) -> None:
        port.announced = port.ready = False
        port.set_driver_open(False)
        unsent = self._outbox.withdraw_port(port.number)
        if Event.DEVICE_REMOVE in unsent or Event.DEVICE_ADD not in unsent:
            self._outbox.add(port.number, Event.DEVICE_REMOVE)

    def _deliver_on_own_time(self) -> None:
        if self._control is not None:
            with own_time(self.name, self._control):
                self._deliver(self._control)

    def _deliver(self, queue: Queue) -> None:
        """Messages into control receive buffers, as many as there are of both."""
        for _ in range(len(self._outbox)):
            chain = queue.pop()
            if chain is None:
                return
            queue.push(chain, self._write_message(chain))

    def _write_message(self, chain: Chain) -> int:
        message = self._outbox.take()
        if chain.writable_length < len(message):
            _log.warning("%s: control buffer of %d bytes is too small", self.name, chain.writable_length)
            return 0
        return chain.write(0, message)
