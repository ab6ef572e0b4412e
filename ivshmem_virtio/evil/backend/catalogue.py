# SPDX-License-Identifier: MIT
"""All scenarios by name."""

from __future__ import annotations

from collections.abc import Sequence

from ivshmem_virtio.evil.backend.errors import NoSuchScenario
from ivshmem_virtio.evil.backend.scenario import Scenario
from ivshmem_virtio.evil.backend.scenarios import (
    configuration,
    descriptors,
    devices,
    directory,
    header,
    interrupts,
    liveness,
    packed_ring,
    queues,
    scribbling,
    transactions,
    used_ring,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for file in (
        *(used_ring, packed_ring, descriptors, queues, header, transactions, liveness),
        *(directory, interrupts, configuration, devices, scribbling),
    )
    for scenario in file.GROUP.scenarios
}


def playable(*, next_flags: bool = False) -> list[Scenario]:
    """Those that can be asked of a guest; with ``next_flags`` also those that a driver with split rings in shared
    memory does not withstand.
    """
    return [scenario for scenario in SCENARIOS.values() if next_flags or not scenario.writes_next]


def chosen(names: Sequence[str], *, next_flags: bool = False) -> list[Scenario]:
    """The scenarios of these names, all playable ones for none; raises NoSuchScenario."""
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise NoSuchScenario(f"no scenario {unknown[0]!r}; --list shows what there is")
    return [SCENARIOS[name] for name in names] if names else playable(next_flags=next_flags)
