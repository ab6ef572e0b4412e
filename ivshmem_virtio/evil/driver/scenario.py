# SPDX-License-Identifier: MIT
"""What a scenario is: a name, one line about it, and one attempt on a device that works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ivshmem_virtio.evil.driver.outcome import Outcome, Report
from ivshmem_virtio.evil.driver.ring import RawRing
from ivshmem_virtio.evil.driver.target import Target


@dataclass
class Attempt:
    """What an attempt works with: the device, dice that fall the same way for the same seed, and where to report."""

    target: Target
    dice: Random
    report: Report

    @property
    def ring(self) -> RawRing:
        """The queue whose chains the device takes as soon as it is kicked: the driver's way out, where there is one."""
        return self.target.rings[served_queue(self.target)]

    @property
    def others(self) -> list[RawRing]:
        """Every other queue."""
        served = served_queue(self.target)
        return [ring for index, ring in enumerate(self.target.rings) if index != served]


def served_queue(target: Target) -> int:
    """Of net and console that is queue 1, transmission; everything else serves its first queue."""
    return 1 if target.layout.device_id in (1, 3) and len(target.places) > 1 else 0


Act = Callable[[Attempt], Outcome]


@dataclass(frozen=True)
class Scenario:
    """``rule``: the error class of a device that checks, "" where the attempt is not against a rule of the rings;
    ``split_only``: it writes to parts that a packed ring does not have.
    """

    name: str
    text: str
    act: Act
    rule: str = ""
    split_only: bool = False
