# SPDX-License-Identifier: MIT
"""Whether every descriptor that was received was closed again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def count() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def none_left_open() -> Iterator[None]:
    """Nothing that is opened or received inside is still open afterwards."""
    before = count()
    yield
    left = count() - before
    assert left == 0, f"{left} descriptors were left open"
