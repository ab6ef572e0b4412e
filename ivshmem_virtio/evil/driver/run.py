# SPDX-License-Identifier: MIT
"""Runs a scenario: attempt after attempt on a device that works, made to work again after each that broke it."""

from __future__ import annotations

import time
from random import Random

from ivshmem_virtio.evil.driver.outcome import Outcome, Report
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario
from ivshmem_virtio.evil.driver.target import Target


def run(target: Target, scenario: Scenario, *, seed: int, count: int) -> Report:
    """``count`` attempts; the same seed makes the same attempts. Raises DeviceLost."""
    report = Report(scenario.name, seed)
    # Scenarios do not share dice: one that is run alone does what it does among all.
    attempt = Attempt(target, Random(f"{seed} {scenario.name}"), report)
    began = time.monotonic()
    target.slowest, target.transactions, target.resets = 0.0, 0, 0
    target.recover()
    for _ in range(count):
        outcome = scenario.act(attempt)
        report.attempts += 1
        report.outcomes[outcome] += 1
        if outcome != Outcome.COMPLETED or target.broken:
            target.recover()
    report.seconds = time.monotonic() - began
    report.slowest, report.transactions, report.resets = target.slowest, target.transactions, target.resets
    return report
