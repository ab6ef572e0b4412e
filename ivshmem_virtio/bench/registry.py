# SPDX-License-Identifier: MIT
"""Which suites there are, in the order they are run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import cast

from ivshmem_virtio.bench.errors import UnknownSuite
from ivshmem_virtio.bench.run import Run

SUITES: Mapping[str, str] = {
    "copy": "ivshmem_virtio.bench.suites.copies:run",
    "kick": "ivshmem_virtio.bench.suites.kick:run",
    "ring": "ivshmem_virtio.bench.suites.ring:run",
    "blk": "ivshmem_virtio.bench.suites.blk:run",
    "net": "ivshmem_virtio.bench.suites.net:run",
    "scale": "ivshmem_virtio.bench.suites.scale:run",
    "guest": "ivshmem_virtio.bench.suites.guest:run",
}
"""By name: the function that is given the run and compares whatever the suite is about."""


def find(name: str) -> Callable[[Run], None]:
    """A suite; raises UnknownSuite."""
    if name not in SUITES:
        raise UnknownSuite(f"no suite {name!r}: there are {', '.join(SUITES)}")
    module, _, function = SUITES[name].partition(":")
    return cast(Callable[[Run], None], getattr(importlib.import_module(module), function))
