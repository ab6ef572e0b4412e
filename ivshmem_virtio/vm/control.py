# SPDX-License-Identifier: MIT
"""Runs shell commands in a guest over its second serial port (the other end is ``control.sh``).

Frames carry a random token of the host, so no output of a command, whatever bytes it has, ends a frame early.
"""

from __future__ import annotations

import base64
import re
import secrets
import select
import socket
import time
from collections.abc import Callable

from ivshmem_virtio.vm.errors import CommandFailed, GuestRebooted, GuestTimeout, QemuFailed, shown

_READY = re.compile(rb"\n=ready ([0-9a-f-]{36})\n")
# What a command that is interrupted may take to end.
_INTERRUPT_SECONDS = 10.0
_INTERRUPT = b"\x03"
# What an error shows of what a command printed before it was late.
_SHOWN_OUTPUT = 500


class ControlShell:
    """The host's end of the command channel.

    ``alive`` is called while waiting; it raises when there is nobody left to wait for.
    """

    def __init__(self, connection: socket.socket, alive: Callable[[], None]) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._alive = alive
        self._received = bytearray()
        self.boot_id = ""

    def wait_ready(self, timeout: float) -> str:
        """Wait until the guest's command server (again) says it is there; returns the guest's boot id."""
        deadline = time.monotonic() + timeout
        while (match := _READY.search(self._received)) is None:
            self._receive(deadline, "the guest to finish booting")
        self.boot_id = match.group(1).decode()
        del self._received[: match.end()]
        return self.boot_id

    def run(self, command: str, timeout: float) -> bytes:
        """Output (both streams) of ``command`` run by the guest's shell.

        Raises CommandFailed on a non-zero status, GuestTimeout (after interrupting the command), GuestRebooted and
        QemuFailed.
        """
        token = secrets.token_hex(8).encode()
        begin = b"\n<" + token + b"\n"
        end = re.compile(rb"\n" + token + rb">(\d+)\n")
        deadline = time.monotonic() + timeout
        self._discard_leftovers(command)
        self._send(token + b" " + base64.b64encode(command.encode()) + b"\n", deadline)
        try:
            match = self._frame_end(end, deadline, command, timeout)
        except GuestTimeout as late:
            so_far = self._output_after(begin, len(self._received)).decode("utf-8", "replace").strip()
            self._interrupt(end, command)
            raise GuestTimeout(f"{late}; output so far: {so_far[-_SHOWN_OUTPUT:] or 'none'}") from None
        output = self._output_after(begin, match.start())
        status = int(match.group(1))
        del self._received[: match.end()]
        if status != 0:
            raise CommandFailed(command, status, output.decode("utf-8", "replace"))
        return output

    def post(self, command: str) -> None:
        """Start ``command`` without waiting for its end, which may be the guest's."""
        token = secrets.token_hex(8)
        self._send(f"{token} {base64.b64encode(command.encode()).decode()}\n".encode(), time.monotonic() + 30)

    def close(self) -> None:
        """Close the channel."""
        self._connection.close()

    def _discard_leftovers(self, command: str) -> None:
        """Forget what background processes printed; but a guest that rebooted meanwhile is another one."""
        ready = _READY.search(self._received)
        self._received.clear()
        if ready is not None:
            self.boot_id = ready.group(1).decode()
            raise GuestRebooted(f"the guest rebooted before {shown(command)} was run")

    def _frame_end(self, end: re.Pattern[bytes], deadline: float, command: str, timeout: float) -> re.Match[bytes]:
        position = 0
        while True:
            match = end.search(self._received, position)
            if match is not None:
                return match
            ready = _READY.search(self._received)
            if ready is not None:
                self.boot_id = ready.group(1).decode()
                raise GuestRebooted(f"the guest rebooted while it ran {shown(command)}")
            # The end marker may be cut anywhere: look again from a little before the end.
            position = max(0, len(self._received) - 64)
            self._receive(deadline, f"{timeout:g} s for {shown(command)} to end")

    def _output_after(self, begin: bytes, limit: int) -> bytes:
        start = self._received.find(begin)
        return b"" if start < 0 else bytes(self._received[start + len(begin) : limit])

    def _interrupt(self, end: re.Pattern[bytes], command: str) -> None:
        """Press control-C, so that the channel serves the next command."""
        deadline = time.monotonic() + _INTERRUPT_SECONDS
        try:
            self._send(_INTERRUPT, deadline)
            self._frame_end(end, deadline, command, _INTERRUPT_SECONDS)
        except GuestTimeout:
            # The guest is stuck; whoever gets the first time-out has to decide what to do with it.
            return

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            _, writable, _ = select.select([], [self._connection], [], 0.2)
            if writable:
                try:
                    view = view[self._connection.send(view) :]
                except OSError as error:
                    self._alive()
                    raise QemuFailed(f"QEMU closed the command channel: {error.strerror}") from error
            elif time.monotonic() > deadline:
                raise GuestTimeout("the guest does not read its command channel")

    def _receive(self, deadline: float, what: str) -> None:
        readable, _, _ = select.select([self._connection], [], [], 0.2)
        if readable:
            data = self._connection.recv(1 << 16)
            if not data:
                self._alive()
                raise QemuFailed(f"QEMU closed the command channel while waiting for {what}")
            self._received += data
        else:
            self._alive()
            if time.monotonic() > deadline:
                raise GuestTimeout(f"timed out waiting for {what}")
