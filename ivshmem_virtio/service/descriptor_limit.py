# SPDX-License-Identifier: MIT
"""How many descriptors a process that hands out doorbells may have."""

from __future__ import annotations

import resource
from contextlib import suppress


def allow_many_descriptors() -> None:
    """As many as the hard limit allows: every peer's every vector is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
