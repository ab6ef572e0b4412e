# SPDX-License-Identifier: MIT
"""What one run of the load found."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """Counted from the first request to the end of the run's time."""

    requests: int
    seconds: float
    errors: int
    """Requests answered with an error, with wrong data, or not at all."""
    kicks: int
    """How often the device wanted to be, and was, notified."""
    interrupts: int
    """How often the load slept and was woken by the device."""
    latencies: tuple[float, float, float]
    """Median, 99th and 99.9th percentile, nanoseconds, right within 6 %; zeroes where requests overlap."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def median_microseconds(self) -> float:
        """Latency that half of the requests did not exceed."""
        return self.latencies[0] / 1000
