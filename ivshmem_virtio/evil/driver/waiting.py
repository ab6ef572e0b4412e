# SPDX-License-Identifier: MIT
"""Waiting for a device that answers within microseconds as a rule: spin first, sleep then, never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

from ivshmem_virtio.transport.driver.wait import Patience

SPINS = 200
PATIENCE = Patience()


def settled(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition()`` came true within ``seconds``."""
    for _ in range(SPINS):
        if condition():
            return True
    return PATIENCE.until(condition, time.monotonic() + seconds)
