# SPDX-License-Identifier: MIT
"""What a device did about an attempt, as its driver can see it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self


class Outcome(StrEnum):
    """One word for each way in which an attempt can end."""

    COMPLETED = "completed"
    """The device did what was asked: the request came back, the register took the value."""
    NEEDS_RESET = "needs-reset"
    """The device broke off and waits for a reset (virtio 1.4, 2.1.2)."""
    REFUSED = "refused"
    """The device went on without having done it."""
    IGNORED = "ignored"
    """Nothing happened in the time allowed."""


@dataclass
class Report:
    """One scenario's run. ``rules``: of the attempts that ended in NEEDS_RESET, which rule was broken, by our own
    reading of the rings; ``slowest``: the longest wait for an answer, seconds.
    """

    scenario: str
    seed: int
    attempts: int = 0
    chains: int = 0
    transactions: int = 0
    resets: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Report) -> Self:
        """Take in another run, of whatever seed."""
        self.attempts += other.attempts
        self.chains += other.chains
        self.transactions += other.transactions
        self.resets += other.resets
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        self.outcomes += other.outcomes
        self.rules += other.rules
        return self

    def as_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "attempts": self.attempts,
            "chains": self.chains,
            "transactions": self.transactions,
            "resets": self.resets,
            "seconds": round(self.seconds, 3),
            "slowest": round(self.slowest, 3),
            "outcomes": dict(self.outcomes),
            "rules": dict(self.rules),
        }
