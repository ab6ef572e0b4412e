# SPDX-License-Identifier: MIT
"""A console port whose output is appended to a file."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from ivshmem_virtio.devices.console_sink import DescriptorSink
from ivshmem_virtio.devices.resource import Access, Resource

_log = logging.getLogger("ivshmem_virtio.device.console")


class FileSink(DescriptorSink):
    """Appends to ``path``. Output that the file system does not take (full, gone) is dropped and counted."""

    def __init__(self, path: str, *, history: bool) -> None:
        super().__init__(history=history)
        self.path = path
        self._fd = -1

    @property
    def resources(self) -> Sequence[Resource]:
        """The file."""
        return [Resource(self.path, Access.CREATE)]

    def _where(self) -> str:
        return self.path

    def _set_up(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        self._fd = os.open(self.path, flags, 0o640)
        self._attach(-1, self._fd)

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
