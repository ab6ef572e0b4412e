# SPDX-License-Identifier: MIT
"""A learning Ethernet switch between guests: one copy, from the sender's window to the receiver's, in compiled code."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ivshmem_virtio.core import Bell, Engine, NetPort, NetReceiveEngine, PlaneWorker, SwitchEngine, SwitchPlane
from ivshmem_virtio.devices.net_header import GUEST_OFFLOADS, HOST_OFFLOADS
from ivshmem_virtio.devices.net_via import Port, Via, ViaError
from ivshmem_virtio.devices.placement import Placement
from ivshmem_virtio.transport.queue import Queue

T = TypeVar("T")

AGEING = 300.0
"""Seconds after which an address nobody used is forgotten (IEEE 802.1Q, 8.8.3)."""
MOST_ADDRESSES = 256
"""Learned addresses for each port, so that no guest can fill the table."""


class Switch:
    """The switch ``name`` of one service; all its ports live on one event loop.

    Frames are passed on by a worker of the switch's own, from the first queue on that is handed to ``engine_for``; what
    is done here happens while that stands aside.
    """

    def __init__(self, name: str, *, ageing: float = AGEING) -> None:
        self.name = name
        self._plane = SwitchPlane(ageing, MOST_ADDRESSES)
        self._loop: AbstractEventLoop | None = None
        self._ports: dict[NetPort, bytes] = {}
        self._worker: PlaneWorker | None = None
        self._placement = Placement(f"switch {name}")

    @property
    def flooded(self) -> int:
        """Frames that went to all ports."""
        return self._plane.flooded

    def join(self, port: Port, loop: AbstractEventLoop) -> None:
        """One port more; raises ViaError."""
        if self._ports and loop is not self._loop:
            raise ViaError(f"switch {self.name}: its ports must share one event loop")
        if port.mac in self._ports.values():
            raise ViaError(
                f"switch {self.name}: two devices have the address {port.mac.hex(':')}; set 'mac' on one of them"
            )
        self._loop = loop
        self.aside(partial(self._plane.join, port.core, port.mac))
        self._ports[port.core] = port.mac

    def place(self, placement: Placement) -> None:
        """Where a port wants the worker, for all of them; raises ViaError where another one wants it elsewhere."""
        if not placement.given:
            return
        placement.check()
        if (self._placement.given or self._worker is not None) and not self._placement.same_as(placement):
            raise ViaError(
                f"{placement.name}: poll and cpus differ from those of {self._placement.name}; "
                f"switch {self.name} has one worker for all its ports"
            )
        self._placement = placement

    def leave(self, port: Port) -> None:
        """The port is gone, with all that was learned on it."""
        self.aside(partial(self._plane.leave, port.core))
        del self._ports[port.core]
        if not self._ports and self._worker is not None:
            self._worker.stop()
            self._worker = None
        if not self._ports:
            self._placement = Placement(f"switch {self.name}")

    def aside(self, change: Callable[[], T]) -> T:
        """Do something with the switch or a port while no frame is passed on."""
        return change() if self._worker is None else self._worker.aside(change)

    def engine_for(self, port: NetPort, bell: Bell, *, transmit: bool) -> tuple[PlaneWorker, Engine]:
        """Who serves a queue of this port."""
        if self._worker is None:
            self._worker = self._placement.start(f"switch {self.name}")
        return self._worker, SwitchEngine(self._plane, port, bell) if transmit else NetReceiveEngine(port, bell)

    def forward(self, source: NetPort) -> bool:
        """Pass on what this port has to send, and notify whoever got something; whether more is waiting.

        Raises what a broken transmit ring of this port raises.
        """
        assert self._loop is not None
        return self.aside(partial(self._plane.forward, source, self._loop.time()))

    def port_of(self, mac: bytes) -> NetPort | None:
        """Where an address is known to be; None for one never seen, or not for a long time."""
        if self._loop is None:
            return None
        return self.aside(partial(self._plane.port_of, mac, self._loop.time()))


class SwitchVia(Via):
    """One port of a switch. The link is up while the device is open.

    Every port offers all offloads. A receiver that has not accepted one of them gets the frame with its checksum
    completed, or cut into segments, in software: correct, and slow.
    """

    offloads = HOST_OFFLOADS | GUEST_OFFLOADS
    threaded = True

    def __init__(self, switch: Switch, placement: Placement) -> None:
        self.switch = switch
        self._placement = placement
        self._port: Port | None = None

    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        self.switch.place(self._placement)
        self.switch.join(port, loop)
        self._port = port
        port.link_changed(True)

    def close(self) -> None:
        if self._port is not None:
            self.switch.leave(self._port)
            self._port.link_changed(False)
            self._port = None

    def transmit_from(self, queue: Queue) -> None:
        assert self._port is not None
        queue.unfinished = self.switch.forward(self._port.core)

    def aside(self, change: Callable[[], None]) -> None:
        self.switch.aside(change)

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        assert self._port is not None
        return self.switch.engine_for(self._port.core, bell, transmit=bool(queue.index))
