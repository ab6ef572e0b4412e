# SPDX-License-Identifier: MIT
"""Keys about the threads that serve a device: how long one looks for more work, and where it may run."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

POLL_WORDS = ("adaptive", "never", "always")
LONGEST_POLL = 1_000_000  # microseconds


def _poll(value: object) -> object:
    if isinstance(value, bool) or not (value in POLL_WORDS or (isinstance(value, int) and 0 <= value <= LONGEST_POLL)):
        raise ValueError(f'must be "adaptive", "never", "always" or microseconds from 0 to {LONGEST_POLL}')
    return value


def _processors(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) < len(value):
        raise ValueError("must name each processor once")
    return value


Poll = Annotated[StrictStr | StrictInt, BeforeValidator(_poll)]
Processors = Annotated[tuple[Annotated[StrictInt, Field(ge=0, le=4095)], ...], AfterValidator(_processors)]
