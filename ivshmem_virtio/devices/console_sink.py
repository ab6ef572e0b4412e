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

from ivshmem_virtio.devices.console_output import BUFFER_BYTES, OutputBuffer
from ivshmem_virtio.devices.device import DeviceError
from ivshmem_virtio.devices.resource import Resource

_log = logging.getLogger("ivshmem_virtio.device.console")

__all__ = ["BUFFER_BYTES", "DescriptorSink", "NullSink", "Sink", "SinkUnusable", "SinkUser"]

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

    @property
    def dropped(self) -> int:
        """Bytes of output lost because the host did not take them."""
        return 0

    @property
    def last_sequence(self) -> int:
        """Number of the driver's buffer that was taken last, by this process or by one before it."""
        return 0

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
    def write(self, data: bytes, sequence: int | None = None) -> None:
        """Take output; with it ends the driver's buffer of that number. Never waits and never fails."""

    def keep_in(self, output: OutputBuffer) -> None:  # noqa: B027 - some sinks keep nothing
        """Keep output there from now on, and go on with what a killed process left there."""

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

    def write(self, data: bytes, sequence: int | None = None) -> None:
        """Forget it."""


class DescriptorSink(Sink):
    """A sink that reads and writes file descriptors, which its subclass attaches and detaches."""

    def __init__(self, *, history: bool) -> None:
        super().__init__(history=history)
        self.label = ""
        self._buffer = OutputBuffer()
        self._said_dropping = False
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

    @property
    def dropped(self) -> int:
        """As far as it is known: of this process, or of all that kept their output in the same place."""
        return self._buffer.dropped

    @property
    def last_sequence(self) -> int:
        """As committed."""
        return self._buffer.last_sequence

    def keep_in(self, output: OutputBuffer) -> None:
        """Nothing was written yet, so there is nothing to take along."""
        self._buffer.release()
        self._buffer = output
        self._recover()
        self._drop_unwanted()
        if not self._writing:
            self._drain()

    def write(self, data: bytes, sequence: int | None = None) -> None:
        """Write what goes at once, buffer the rest."""
        for start in range(0, len(data), WRITE_AT_ONCE):
            piece = data[start : start + WRITE_AT_ONCE]
            if not self._writing:
                self._drain()
            self._note_dropping(self._buffer.room(len(piece)))
            self._buffer.commit(piece, sequence if start + WRITE_AT_ONCE >= len(data) else None)
        self._drop_unwanted()
        if not self._writing:
            self._drain()

    def _drop_unwanted(self) -> None:
        if not self.connected and not self.history:
            self._drop(len(self._buffer))

    def _drop(self, count: int) -> None:
        self._note_dropping(count)
        self._buffer.drop(count)

    def _note_dropping(self, count: int) -> None:
        if count > 0 and not self._said_dropping:
            self._said_dropping = True
            _log.warning("%s: %s does not take the output; the oldest is being dropped", self.label, self._where())

    def _drain(self) -> None:
        while self._buffer and self._output >= 0:
            try:
                self._before_write()
                with self._buffer.oldest(WRITE_AT_ONCE) as oldest:
                    written = os.write(self._output, oldest)
            except BlockingIOError:
                self._watch_output(True)
                return
            except OSError as error:
                self._output_failed(error)
                return
            self._buffer.consume(written)
        self._watch_output(False)

    def _before_write(self) -> None:
        """For who can find out later whether the write happened."""

    def _recover(self) -> None:
        """Consume what the killed process wrote without saying so, where that can be found out."""

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
