# SPDX-License-Identifier: MIT
"""Every scenario by its name; the tables stand with the ideas."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.evil.driver import (
    available,
    buffers,
    header,
    identity,
    indirect,
    loops,
    mutated,
    queues,
    rewriting,
    storms,
)
from ivshmem_virtio.evil.driver.errors import ScenarioUnknown
from ivshmem_virtio.evil.driver.scenario import Scenario

TABLES: Sequence[Sequence[Scenario]] = (
    available.SCENARIOS,
    loops.SCENARIOS,
    indirect.SCENARIOS,
    buffers.SCENARIOS,
    queues.SCENARIOS,
    header.SCENARIOS,
    identity.SCENARIOS,
    storms.SCENARIOS,
    mutated.SCENARIOS,
    rewriting.SCENARIOS,
)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for table in TABLES for scenario in table}


def choose(names: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names, all of them for none; raises ScenarioUnknown."""
    for name in names:
        if name not in SCENARIOS:
            raise ScenarioUnknown(f"no scenario {name!r}: evil-driver --list shows all {len(SCENARIOS)}")
    return [SCENARIOS[name] for name in names] or list(SCENARIOS.values())
