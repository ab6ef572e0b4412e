# SPDX-License-Identifier: MIT
"""A way out through one descriptor of the host, in compiled code: on a worker of its own where the link has eventfds,
and on the loop meanwhile and otherwise."""

from __future__ import annotations

from abc import abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress

from ivshmem_virtio.core import Bell, Engine, LineReceiveEngine, LineTransmitEngine, NetLine, PlaneWorker
from ivshmem_virtio.devices.net_queues import RECEIVE, TRANSMIT, direction
from ivshmem_virtio.devices.net_via import Port, Via
from ivshmem_virtio.devices.net_workers import Workers
from ivshmem_virtio.transport.queue import Queue


class LineVia(Via):
    """``framed``: each frame comes after its length (a stream), instead of behind a packet header (a tap).

    ``pair``: the number of the port among those of its device, which decides on the worker.
    """

    def __init__(self, workers: Workers, *, framed: bool, pair: int = 0) -> None:
        self._workers = workers
        self._pair = pair
        self._framed = framed
        self._loop: AbstractEventLoop | None = None
        self._port: Port | None = None
        self._line: NetLine | None = None
        self._fd = -1
        self._worker: PlaneWorker | None = None
        self._compiled: set[int] = set()
        self._reading = self._writing = False

    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        self._workers.check()
        self._loop, self._port = loop, port
        port.core.waiting = True
        self._line = NetLine(port.core, framed=self._framed)
        self._line.on_lost = self._lost_on_worker

    def close(self) -> None:
        self._detach()
        self._worker = None
        self._line = self._loop = self._port = None

    @abstractmethod
    def gone(self, line: NetLine) -> None:
        """The host's side is gone, as ``line`` says; called once."""

    # -- the descriptor ------------------------------------------------------------------------------------------------

    def _attach(self, fd: int) -> None:
        """Begin with a descriptor, which stays the caller's to close."""
        assert self._line is not None
        assert self._port is not None
        line = self._line
        self._fd = fd
        self.aside(lambda: line.open(fd))
        self._read_on()
        self._port.link_changed(True)

    def _detach(self) -> None:
        """Have done with it."""
        if self._fd < 0:
            return
        assert self._line is not None
        assert self._port is not None
        self._read_off()
        self._write_off()
        self._port.link_changed(False)
        self.aside(self._line.close)
        self._fd = -1

    def _lost_on_worker(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is gone, and with it whoever could care
                self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        if self._line is not None and self._fd >= 0 and self._line.lost:
            self.gone(self._line)

    # -- who serves the queues -----------------------------------------------------------------------------------------

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        assert self._line is not None
        self._worker = self._workers.of(self._pair)
        way = direction(queue.index)
        self._compiled.add(way)
        if way == RECEIVE:
            self._read_off()
            return self._worker, LineReceiveEngine(self._line, bell)
        self._write_off()
        return self._worker, LineTransmitEngine(self._line, bell)

    def aside(self, change: Callable[[], None]) -> None:
        if self._worker is None:
            change()
        else:
            self._worker.aside(change)

    def set_features(self, accepted: int) -> None:
        # A driver comes or goes: until its queues are given to a worker, they are served here.
        self._compiled.clear()
        if self._line is not None:
            self.aside(self._line.settle)
            self._read_on()

    # -- on the loop ---------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        return not self._writing

    def _read_on(self) -> None:
        if not self._reading and self._fd >= 0 and RECEIVE not in self._compiled and self._loop is not None:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _read_off(self) -> None:
        if self._reading and self._loop is not None:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _write_off(self) -> None:
        if self._writing and self._loop is not None:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        if self._line is None or self._fd < 0 or RECEIVE in self._compiled:
            return
        line = self._line
        more: list[bool] = []
        self.aside(lambda: more.append(line.receive()))
        if line.lost:
            self._look()
        elif line.holds:
            self._read_off()
            self.waits()
        else:
            self._read_on()
            if any(more) and self._loop is not None:
                # What was read and not delivered makes no descriptor readable.
                self._loop.call_soon(self._readable)

    def waits(self) -> None:
        """Nothing is read from now on, until the guest has buffers."""

    def resume(self) -> None:
        if self._line is not None and self._line.holds:
            self._readable()

    def transmit_from(self, queue: Queue) -> None:
        assert self._line is not None
        line = self._line
        more: list[bool] = []
        self.aside(lambda: more.append(line.transmit()))
        queue.unfinished = any(more)
        if line.lost:
            self._look()
        elif line.blocked and not self._writing and self._loop is not None:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        self._write_off()
        self._transmit_again()

    def _transmit_again(self) -> None:
        """Chains that waited go on, or come back where nothing is connected any more."""
        assert self._port is not None
        if TRANSMIT in self._compiled and self._worker is not None:
            self._worker.wake()
        else:
            self._port.transmit_again()
