# SPDX-License-Identifier: MIT
"""When a disk carries out a request: at once, or later because of its rate limits or of a delay that tests ask for."""

from __future__ import annotations

from random import Random

BURST_SECONDS = 0.05
"""So much of a second's allowance may be used up at once after a rest; it also keeps wake-ups apart."""


class Rate:
    """A limit in units per second. What is over the limit is paid for by those who come after.

    So the first request of all never waits, however large it is: a disk that is begun anew again and again gets on.
    """

    def __init__(self, per_second: int) -> None:
        self._seconds_each = 1 / per_second
        self._paid_until = 0.0

    def due(self, now: float, units: int) -> float:
        """When a request of so many units may go, on the clock that ``now`` is of."""
        due = max(self._paid_until, now - BURST_SECONDS)
        self._paid_until = due + units * self._seconds_each
        return due


class Pace:
    """The limits of one disk: bytes of data and requests for each second.

    ``delay``: every request waits a random time up to so many seconds as well, so that they come back in an order of
    their own; the same ``seed`` gives the same times.
    """

    def __init__(
        self,
        *,
        bytes_per_second: int | None = None,
        requests_per_second: int | None = None,
        delay: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._bytes = Rate(bytes_per_second) if bytes_per_second is not None else None
        self._requests = Rate(requests_per_second) if requests_per_second is not None else None
        self._delay = delay
        self._chance = Random(seed)

    @property
    def unlimited(self) -> bool:
        """Whether nothing ever waits."""
        return self._bytes is None and self._requests is None and not self._delay

    def due(self, now: float, length: int) -> float:
        """When a request with so many bytes of data is to be carried out; in the past: at once."""
        due = now
        if self._bytes is not None:
            due = max(due, self._bytes.due(now, length))
        if self._requests is not None:
            due = max(due, self._requests.due(now, 1))
        return due + self._chance.uniform(0, self._delay) if self._delay else due
