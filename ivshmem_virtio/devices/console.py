# SPDX-License-Identifier: MIT
"""virtio-console (device id 3): a console and, with MULTIPORT, any number of named ports (virtio 1.4, 5.3)."""

from __future__ import annotations

import struct
from asyncio import AbstractEventLoop
from collections.abc import Mapping, Sequence
from enum import IntFlag
from typing import ClassVar

from ivshmem_virtio.devices.console_dialogue import PortDialogue
from ivshmem_virtio.devices.console_output import OutputBuffer
from ivshmem_virtio.devices.console_port import Port
from ivshmem_virtio.devices.console_spec import SinkSpec, make_sink
from ivshmem_virtio.devices.device import Device, DeviceError, DriverHandle
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.transport.queue import Queue

CONFIG = struct.Struct("<HHII")
EMERG_WRITE_OFFSET = 8
CONTROL_RECEIVE = 2
CONTROL_TRANSMIT = 3
CONTROL_QUEUE_SIZE = 32
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
        self._dialogue = PortDialogue(name, self.ports, lambda: self.size)
        self._driver: DriverHandle | None = None
        self._known_queues: list[Queue | None] = []
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
            on_host_changed=lambda port: self._dialogue.host_changed(port),
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
        """What was said on the control queues."""
        return self._dialogue.kept

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
            self._dialogue.size_changed()

    # -- driver -------------------------------------------------------------------------------------------------------

    def activate(self, driver: DriverHandle) -> None:
        """Ports may be used; with MULTIPORT once the driver has said that it is ready."""
        self._driver = driver
        queues = list(driver.queues)
        if driver.features & Feature.MULTIPORT:
            self._dialogue.begin(queues[CONTROL_RECEIVE], tell_size=bool(driver.features & Feature.SIZE))
        if not self._is_known(queues):
            self._forget_driver()
        self._known_queues = queues
        restored, self._restored = self._restored, 0
        if restored and any(queue is not None and queue.ring.resumed for queue in queues):
            # Else the driver was reset meanwhile, and knows nothing.
            self._dialogue.go_on(restored)
        for port in self.ports if self._dialogue.active else self.ports[:1]:
            port.activate(queues[port.queues[0]])

    def _is_known(self, queues: list[Queue | None]) -> bool:
        """After the reset of single queues (virtio 1.4, 2.6.1) the others are those of before, and so is the driver."""
        return any(new is not None and new is old for new, old in zip(queues, self._known_queues, strict=False))

    def _forget_driver(self) -> None:
        self._known_queues = []
        self._dialogue.forget()
        for port in self.ports:
            port.forget_driver(multiport=self._dialogue.active)

    def deactivate(self) -> None:
        """Reset: the host side keeps what it has, input waits there."""
        for port in self.ports:
            port.deactivate()
        self._driver = None
        self._dialogue.end()

    def handle_queue(self, queue: Queue) -> None:
        """Output goes out at once, whatever the host does with it; receive buffers mean that input is welcome."""
        if queue.index == CONTROL_TRANSMIT and self._multiport_offered:
            self._dialogue.hear(queue)
        elif queue.index == CONTROL_RECEIVE and self._multiport_offered:
            self._dialogue.deliver()
        else:
            self._serve_port(self._by_queue[queue.index], queue)

    def _serve_port(self, port: Port, queue: Queue) -> None:
        if queue.index == port.queues[0]:
            port.look_for_input()
            return
        for chain in queue.chains():
            port.transmit(chain)
            queue.push(chain, 0)

    def plug(self, name: str, *, plugged: bool) -> None:
        """Take a port away from the guest, or give it back. Raises PortUnknown."""
        port = next((p for p in self.ports if p.name == name and not p.console), None)
        if port is None:
            known = ", ".join(p.name for p in self.ports if not p.console) or "none"
            raise PortUnknown(f"console {self.name} has no port {name!r} to plug: {known}")
        if port.plugged == plugged:
            return
        port.plugged = plugged
        self._dialogue.plug_changed(port)
