# SPDX-License-Identifier: MIT
"""What a run of the benchmarks leaves: rows of figures beside their peers, with everything needed to judge them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Base of every part of a report."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Pair(Part):
    """One measurement of ours and one of the peer's, right after each other."""

    ours: float
    peer: float
    round_trip_ns: tuple[float, ...]
    """Of a cache line between the two processors: before, between and after the two."""
    flipped: bool
    """Whether that changed by more than a factor of two meanwhile, so that the two cannot well be compared."""


class Spread(Part):
    """Least and largest of the pairs."""

    ours: tuple[float, float]
    peer: tuple[float, float]
    ratio: tuple[float, float]


class Row(Part):
    """One case. ``ours`` and ``peer`` are medians; ``ratio`` is above 1 where ours is better, also for latencies."""

    suite: str
    case: str
    unit: str
    better: Literal["more", "less"]
    ours: float
    peer: float
    peer_name: str
    ratio: float
    spread: Spread
    runs: tuple[Pair, ...]
    notes: dict[str, float] = Field(default_factory=dict)
    """Further figures of the last pair, such as kicks for each request."""

    @property
    def flipped(self) -> int:
        """How many pairs are in doubt."""
        return sum(pair.flipped for pair in self.runs)


class Machine(Part):
    """Where it ran."""

    processor: str
    processors: int
    memory_bytes: int
    load_on: int
    device_on: int
    hypervisor: bool


class Report(Part):
    """A whole run."""

    format: Literal[1] = 1
    started: str
    """UTC, ISO 8601."""
    command: str
    quick: bool
    machine: Machine
    versions: dict[str, str]
    commands: tuple[str, ...]
    """Every program that was started beside, as it can be typed."""
    rows: tuple[Row, ...]
    failures: dict[str, str] = Field(default_factory=dict)
    """Suites that could not be measured, and why."""
