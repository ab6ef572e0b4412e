# SPDX-License-Identifier: MIT
"""What one side of a ring says to what it finds there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ivshmem_virtio import errors

T = TypeVar("T")
Chain = tuple[int, list[tuple[int, int]], list[tuple[int, int]]]
"""Head, readable and writable parts."""


def verdict(side: Callable[[], T]) -> T | type[errors.RingViolation]:
    """Its answer, or the rule that was broken."""
    try:
        return side()
    except errors.RingViolation as violation:
        return type(violation)


def next_chain(pop: Callable[[], Any]) -> Chain | type[errors.RingViolation] | None:
    """What a device side, ours or the model's, takes from the ring."""
    found = verdict(pop)
    return found if found is None or isinstance(found, type) else (found.head, found.readable, found.writable)


def name_of(answer: object) -> str:
    """For counting what was met."""
    return answer.__name__ if isinstance(answer, type) else "chain" if answer else "empty"
