# SPDX-License-Identifier: MIT
"""Every scenario on every type of device: the rule it breaks is found and named, and only the offender pays."""

from __future__ import annotations

import pytest

from ivshmem_virtio.evil.driver.catalogue import SCENARIOS
from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.run import run

from .hostile_site import DEVICES, Site, nobody_else_hurt

COUNT = 2
SEED = 20

NAMED = {
    "AvailableIndexJump": "entries ahead in a ring",
    "HeadOutsideQueue": "available entry names descriptor",
    "HeadInFlight": "was made available again before it was used",
    "NextOutsideTable": "in a descriptor table of",
    "ChainTooLong": "loops or has more than",
    "BufferOutsideWindow": "not inside the part of the window open to buffers (virtio 1.4, 2.7.5)",
    "ReadableAfterWritable": "device-readable descriptor after a device-writable one",
    "IndirectNotNegotiated": "without VIRTIO_F_INDIRECT_DESC",
    "IndirectWithNext": "set INDIRECT and NEXT together",
    "IndirectNested": "is indirect itself",
    "IndirectTableLength": "not a whole number of 16-byte descriptors",
    "IndirectTableOutsideWindow": "not inside the part of the window open to buffers (virtio 1.4, 2.7.5.3)",
    "RingAddressInvalid": "(virtio 1.4, 2.7 and 2.8.10.1)",
    "RingViolation": "queue",
}


def logger_of(device: str) -> str:
    return f"ivshmem_virtio.device.{device}"


@pytest.mark.parametrize("device", DEVICES)
def test_each_scenario_ends_with_a_device_that_works(site: Site, device: str) -> None:
    said = len(site.service.said())
    with nobody_else_hurt(site, device) as target:
        for scenario in SCENARIOS.values():
            report = run(target, scenario, seed=SEED, count=COUNT)
            assert report.attempts == COUNT
            assert report.outcomes[Outcome.IGNORED] == 0, f"{scenario.name}: {report.outcomes}"
            if scenario.rule:
                assert report.outcomes[Outcome.NEEDS_RESET] == COUNT, f"{scenario.name}: {report.outcomes}"
            if report.rules and scenario.rule:
                assert report.rules == {scenario.rule: COUNT}, scenario.name
    lines = [line for line in site.service.said()[said:].splitlines() if f" {logger_of(device)}: " in line]
    found = "\n".join(line for line in lines if "the device needs a reset" in line)
    for rule in {scenario.rule for scenario in SCENARIOS.values() if scenario.rule}:
        assert NAMED[rule] in found, rule
