# SPDX-License-Identifier: MIT
"""A console port on the standard input and output of the service."""

from __future__ import annotations

import os
import select
import stat
import termios
from asyncio import TimerHandle
from collections.abc import Sequence

from ivshmem_virtio.devices.console_pty import WATCH_SECONDS, terminal_size
from ivshmem_virtio.devices.console_sink import DescriptorSink
from ivshmem_virtio.devices.resource import Access, Resource


def pollable(fd: int) -> bool:
    """Whether an event loop can wait for it; not so for regular files and /dev/null."""
    with select.epoll() as poll:
        try:
            poll.register(fd, select.EPOLLIN)
        except PermissionError:
            return False
    return True


def private_nonblocking(fd: int, mode: int) -> int:
    """A descriptor for the same thing that does not wait.

    Opened anew where possible: O_NONBLOCK belongs to the open file, which we share with the shell that started us.
    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        try:
            return os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            pass  # a socket, or a terminal of another user
    copy = os.dup(fd)
    if pollable(copy):
        os.set_blocking(copy, False)
    return copy


class StdioSink(DescriptorSink):
    """Keys go to the guest one by one and without echo; Ctrl-C still stops the service."""

    def __init__(self, *, history: bool, input_fd: int = 0, output_fd: int = 1) -> None:
        super().__init__(history=history)
        self._fds = (input_fd, output_fd)
        self._in = self._out = -1
        self._saved: list[int | list[bytes | int]] | None = None
        self._size = (0, 0)
        self._timer: TimerHandle | None = None

    @property
    def resources(self) -> Sequence[Resource]:
        """What the service was started on: it is opened anew."""
        return [Resource(f"/proc/self/fd/{fd}", Access.WRITE) for fd in self._fds]

    def _where(self) -> str:
        return "standard input and output"

    def _set_up(self) -> None:
        self._in = private_nonblocking(self._fds[0], os.O_RDONLY)
        self._out = private_nonblocking(self._fds[1], os.O_WRONLY)
        if os.isatty(self._in):
            self._saved = termios.tcgetattr(self._in)
            keys = termios.tcgetattr(self._in)
            keys[0] &= ~termios.ICRNL
            keys[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(self._in, termios.TCSADRAIN, keys)
        self._attach(self._in if pollable(self._in) else -1, self._out)
        self._watch()

    def _watch(self) -> None:
        if self._loop is None or not os.isatty(self._out):
            return
        self._timer = self._loop.call_later(WATCH_SECONDS, self._watch)
        size = terminal_size(self._out)
        if size != self._size and all(size) and self._user is not None:
            self._size = size
            self._user.size_changed(*size)

    def _output_failed(self, error: OSError) -> None:
        self._drop(len(self._buffer))
        self._watch_output(False)

    def _lost(self) -> None:
        self._end_of_input()

    def close(self) -> None:
        """Leave the terminal as it was found."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._detach()
        if self._saved is not None:
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._saved)
            self._saved = None
        for fd in (self._in, self._out):
            if fd >= 0:
                os.close(fd)
        self._in = self._out = -1
