# SPDX-License-Identifier: MIT
"""The io_urings of this process. A confined one cannot make any more, so they are laid in before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ivshmem_virtio.core import Uring

ENTRIES = 128
"""So many requests of one queue are in the kernel's hands at most."""

_spare: list[Uring] = []


def lay_in(count: int) -> None:
    """Have so many more at hand, as far as the kernel gives them."""
    with suppress(OSError):
        _spare.extend([Uring(ENTRIES) for _ in range(count)])


def take(count: int) -> list[Uring]:
    """So many that nobody else uses; raises OSError."""
    laid_in, _spare[:] = _spare[:count], _spare[count:]
    try:
        return laid_in + [Uring(ENTRIES) for _ in range(count - len(laid_in))]
    except OSError:
        give_back(laid_in)
        raise


def give_back(rings: Sequence[Uring]) -> None:
    """Nothing of them is under way. One that the kernel took no requests from any more is of no use."""
    _spare.extend(ring for ring in rings if ring.idle)
