# SPDX-License-Identifier: MIT
"""What stands behind a console port on the host: takes all output at once, hands over input when asked.

Output is never refused: what the host does not read is kept in a bounded buffer that loses its oldest bytes and counts
them. Input is read only while the driver has room for it, so that none is lost.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from typing import Protocol

from ivshmem_virtio.devices.device import DeviceError
from ivshmem_virtio.devices.resource import Resource

_log = logging.getLogger("ivshmem_virtio.device.console")

BUFFER_BYTES = 256 << 10
WRITE_AT_ONCE = 64 << 10


class SinkUnusable(DeviceError):
    """The host side of a console port cannot be set up as configured."""


class SinkUser(Protocol):
    """What a sink tells its port. Every call comes from the event loop."""

    def input_ready(self) -> None:
        """There is input; comes again until it is read or no longer wanted."""

    def host_changed(self) -> None:
        """``connected`` changed."""

    def size_changed(self, columns: int, rows: int) -> None:
        """The terminal behind the sink has a new size."""


class Sink(ABC):
    """One end on the host.

    ``history``: keep output while nobody is connected and show it to the next one who is. Right for a console, wrong
    for a port whose two ends talk a protocol.
    """

    def __init__(self, *, history: bool) -> None:
        self.history = history
        self.connected = False
        self.dropped = 0
        """Bytes of output lost because the host did not take them."""

    @property
    def resources(self) -> Sequence[Resource]:
        """Every path on the host that it opens."""
        return ()

    @abstractmethod
    def open(self, loop: AbstractEventLoop, user: SinkUser, label: str) -> None:
        """Set up; raises SinkUnusable. ``label`` names the port in log lines."""

    @abstractmethod
    def close(self) -> None:
        """Take down, also after a failed ``open``."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Take output. Never waits and never fails."""

    def want_input(self, wanted: bool) -> None:  # noqa: B027 - some sinks have no input
        """Whether ``input_ready`` may be called."""

    def read_into(self, views: list[memoryview]) -> int:
        """Read input; 0 = there is none after all."""
        return 0


class NullSink(Sink):
    """Takes everything, gives nothing."""

    def open(self, loop: AbstractEventLoop, user: SinkUser, label: str) -> None:
        """Somebody always listens here."""
        self.connected = True

    def close(self) -> None:
        """Nothing to take down."""

    def write(self, data: bytes) -> None:
        """Forget it."""


class DescriptorSink(Sink):
    """A sink that reads and writes file descriptors, which its subclass attaches and detaches."""

    def __init__(self, *, history: bool) -> None:
        super().__init__(history=history)
        self.label = ""
        self._buffer = bytearray()
        self._loop: AbstractEventLoop | None = None
        self._user: SinkUser | None = None
        self._input = -1
        self._output = -1
        self._wanted = False
        self._reading = False
        self._writing = False
        self._input_ended = False

    def open(self, loop: AbstractEventLoop, user: SinkUser, label: str) -> None:
        """Remember who to tell; then the subclass sets up. Raises SinkUnusable."""
        self._loop, self._user, self.label = loop, user, label
        try:
            self._set_up()
        except OSError as error:
            self.close()
            raise SinkUnusable(f"{label}: {self._where()}: {error.strerror or error}") from None
        except SinkUnusable:
            self.close()
            raise

    @abstractmethod
    def _set_up(self) -> None:
        """Acquire what is needed; an OSError is turned into SinkUnusable."""

    @abstractmethod
    def _where(self) -> str:
        """The place on the host, for messages."""

    @abstractmethod
    def _lost(self) -> None:
        """The other end went away, or a descriptor failed for good."""

    def _attach(self, input_fd: int, output_fd: int) -> None:
        """From now on use these; -1 = this direction does not exist. The descriptors stay the subclass's own."""
        self._input, self._output = input_fd, output_fd
        self._input_ended = input_fd < 0
        self.connected = True
        if self._user is not None:
            self._user.host_changed()
        self._watch_input()
        self._drain()

    def _detach(self) -> None:
        """Stop using the descriptors."""
        if self._loop is not None and not self._loop.is_closed():
            if self._reading:
                self._loop.remove_reader(self._input)
            if self._writing:
                self._loop.remove_writer(self._output)
        self._reading = self._writing = False
        self._input = self._output = -1
        if not self.history:
            self._drop(len(self._buffer))
        if self.connected:
            self.connected = False
            if self._user is not None:
                self._user.host_changed()

    # -- output -------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write what goes at once, buffer the rest."""
        self._buffer += data
        if not self.connected and not self.history:
            self._drop(len(self._buffer))
        if not self._writing:
            self._drain()
        self._drop(len(self._buffer) - BUFFER_BYTES)

    def _drop(self, count: int) -> None:
        if count > 0:
            del self._buffer[:count]
            if not self.dropped:
                _log.warning("%s: %s does not take the output; the oldest is being dropped", self.label, self._where())
            self.dropped += count

    def _drain(self) -> None:
        while self._buffer and self._output >= 0:
            try:
                written = os.write(self._output, self._buffer[:WRITE_AT_ONCE])
            except BlockingIOError:
                self._watch_output(True)
                return
            except OSError as error:
                self._output_failed(error)
                return
            del self._buffer[:written]
        self._watch_output(False)

    def _output_failed(self, error: OSError) -> None:
        self._lost()

    def _watch_output(self, on: bool) -> None:
        if self._loop is None or on == self._writing:
            return
        self._writing = on
        if on:
            self._loop.add_writer(self._output, self._drain)
        else:
            self._loop.remove_writer(self._output)

    # -- input --------------------------------------------------------------------------------------------------------

    def want_input(self, wanted: bool) -> None:
        """Start or stop to listen for input."""
        self._wanted = wanted
        self._watch_input()

    def _watch_input(self) -> None:
        on = self._wanted and self._input >= 0 and not self._input_ended
        if self._loop is None or self._user is None or on == self._reading:
            return
        self._reading = on
        if on:
            self._loop.add_reader(self._input, self._user.input_ready)
        else:
            self._loop.remove_reader(self._input)

    def read_into(self, views: list[memoryview]) -> int:
        """Read what there is, as far as it fits."""
        if self._input < 0 or self._input_ended:
            return 0
        try:
            count = os.readv(self._input, views)
        except BlockingIOError:
            return 0
        except OSError:
            self._lost()
            return 0
        if count == 0:
            self._end_of_input()
        return count

    def _end_of_input(self) -> None:
        """The other end will send no more, but may still be listening."""
        self._input_ended = True
        self._watch_input()
