# SPDX-License-Identifier: MIT
"""A console port as a pseudo terminal, for screen, picocom, minicom and the like."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import struct
import termios
import tty
from asyncio import TimerHandle
from collections.abc import Sequence

from ivshmem_virtio.devices.console_sink import DescriptorSink, SinkUnusable
from ivshmem_virtio.devices.resource import Access, Resource

_log = logging.getLogger("ivshmem_virtio.device.console")

WATCH_SECONDS = 0.25
WINSIZE = struct.Struct("=HHHH")


def terminal_size(fd: int) -> tuple[int, int]:
    """(columns, rows) of a terminal, (0, 0) where it has none."""
    try:
        rows, columns, _, _ = WINSIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(WINSIZE.size)))
    except OSError:
        return 0, 0
    return columns, rows


class PtySink(DescriptorSink):
    """``path`` is the terminal to open; ``link``, if given, a symbolic link to it that does not change its name."""

    def __init__(self, link: str | None = None, *, history: bool) -> None:
        super().__init__(history=history)
        self.link = link
        self.path = ""
        self._master = -1
        self._size = (0, 0)
        self._timer: TimerHandle | None = None

    @property
    def resources(self) -> Sequence[Resource]:
        """Terminals, and the link."""
        terminals = [Resource("/dev/ptmx", Access.WRITE), Resource("/dev/pts", Access.WRITE)]
        return [*terminals, Resource(self.link, Access.LINK)] if self.link is not None else terminals

    def _where(self) -> str:
        return self.link or self.path or "pty"

    def _set_up(self) -> None:
        self._master, slave = os.openpty()
        try:
            tty.setraw(slave)
            self.path = os.ttyname(slave)
        finally:
            # Once it has been closed, the master tells by POLLHUP whether anybody has it open.
            os.close(slave)
        os.set_blocking(self._master, False)
        if self.link is not None:
            self._make_link(self.link)
        _log.info("%s: terminal at %s", self.label, f"{self.link} -> {self.path}" if self.link else self.path)
        self._watch()

    def _make_link(self, link: str) -> None:
        if os.path.lexists(link) and not os.path.islink(link):
            raise SinkUnusable(f"{self.label}: {link} exists and is no symbolic link: remove it or choose another path")
        fresh = f"{link}.{os.getpid()}"
        os.symlink(self.path, fresh)
        os.replace(fresh, link)

    def close(self) -> None:
        """Hang up, and remove the link if it is still ours."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._detach()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
            if self.link is not None and os.path.islink(self.link) and os.readlink(self.link) == self.path:
                os.unlink(self.link)

    def _watch(self) -> None:
        """A terminal tells nobody that it was opened or resized, so look."""
        if self._loop is None or self._master < 0:
            return
        self._timer = self._loop.call_later(WATCH_SECONDS, self._watch)
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        events = dict(poll.poll(0)).get(self._master, 0)
        if events & select.POLLHUP and not events & select.POLLIN:
            self._detach()
        elif not self.connected:
            self._attach(self._master, self._master)
        size = terminal_size(self._master)
        if size != self._size and all(size) and self._user is not None:
            self._size = size
            self._user.size_changed(*size)

    def _lost(self) -> None:
        self._detach()
