# SPDX-License-Identifier: MIT
"""Ring work a device does on its own time: from a socket or a timer rather than from ``handle_queue``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ivshmem_virtio.errors import OutsideWindow, RingViolation
from ivshmem_virtio.transport.queue import Queue

_log = logging.getLogger("ivshmem_virtio.device")


@contextmanager
def own_time(name: str, queue: Queue) -> Iterator[None]:
    """Publish what was pushed in the block; a broken ring ends the block, not the event loop.

    The ring stays broken, so the transport meets the violation in its own next look at the queue, at the latest when
    its timer fires, and does what has to be done about the driver.
    """
    try:
        yield
        queue.flush()
    except (RingViolation, OutsideWindow) as violation:
        _log.debug("%s: queue %d: %s", name, queue.index, violation)
