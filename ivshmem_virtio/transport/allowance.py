# SPDX-License-Identifier: MIT
"""So many a second, with bursts above that: how much of something another side may cause."""

from __future__ import annotations


class Allowance:
    """``rate`` units a second; what falls within ``burst`` seconds may come at once. Whoever is further ahead than that
    waits until the rate has caught up. Times are seconds of any clock that does not go back.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._cost = 1 / rate
        self._burst = burst
        self._due = 0.0

    def spend(self, now: float, units: int = 1) -> None:
        """Take note of ``units`` at the time ``now``."""
        self._due = max(self._due, now) + units * self._cost

    def wait(self, now: float) -> float:
        """Seconds until the rate has caught up; 0 while there may be more."""
        ahead = self._due - now
        return ahead if ahead > self._burst else 0.0
