# SPDX-License-Identifier: MIT
"""A console port whose output is appended to a file."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence

from ivshmem_virtio.devices.console_sink import WRITE_AT_ONCE, DescriptorSink
from ivshmem_virtio.devices.resource import Access, Resource

_log = logging.getLogger("ivshmem_virtio.device.console")


class FileSink(DescriptorSink):
    """Appends to ``path``: each byte once, even if this process is killed, as long as nobody else writes there.

    Output that the file system does not take (full, gone) is dropped and counted.
    """

    def __init__(self, path: str, *, history: bool) -> None:
        super().__init__(history=history)
        self.path = path
        self._fd = -1
        self._regular = False

    @property
    def resources(self) -> Sequence[Resource]:
        """The file."""
        return [Resource(self.path, Access.CREATE)]

    def _where(self) -> str:
        return self.path

    def _set_up(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        self._fd = os.open(self.path, flags, 0o640)
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._attach(-1, self._fd)

    def _before_write(self) -> None:
        if self._regular:
            self._buffer.mark(os.fstat(self._fd).st_size)

    def _recover(self) -> None:
        """The file is longer than it was before the last write, by just what was to be written."""
        length = self._buffer.marked
        if length is None or not self._regular:
            return
        try:
            with open(self.path, "rb") as file:
                file.seek(length)
                added = file.read(WRITE_AT_ONCE)
        except OSError:
            return  # not ours to read: then it may be written twice
        with self._buffer.oldest(WRITE_AT_ONCE) as oldest:
            written = bool(added) and bytes(oldest[: len(added)]) == added
        if written:
            self._buffer.consume(len(added))

    def _output_failed(self, error: OSError) -> None:
        if not self.dropped:
            _log.error("%s: %s: %s", self.label, self.path, error.strerror)
        self._watch_output(False)
        self._drop(len(self._buffer))

    def _lost(self) -> None:
        """A file goes nowhere."""

    def close(self) -> None:
        """Close the file."""
        self._detach()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
