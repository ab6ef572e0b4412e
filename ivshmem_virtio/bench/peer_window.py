# SPDX-License-Identifier: MIT
"""Memory that a vhost-user daemon shares with the load, as a device shares its window with a driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ivshmem_virtio.core import Window
from ivshmem_virtio.vhost_user.front_end import FrontEnd
from ivshmem_virtio.vhost_user.shared_slice import SharedSlice


@contextmanager
def attached(socket: Path, length: int) -> Iterator[tuple[FrontEnd, Window]]:
    """The daemon at ``socket``, with a window of its own of so many bytes; at the end it must still be well."""
    with ExitStack() as stack:
        memory = os.memfd_create("bench", os.MFD_CLOEXEC)
        stack.callback(os.close, memory)
        os.truncate(memory, length)
        window = Window(memory, 0, length)
        stack.callback(window.close)
        daemon = stack.enter_context(FrontEnd.connect(socket, SharedSlice(memory, 0, length)))
        yield daemon, window
        daemon.check()
