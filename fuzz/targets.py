# SPDX-License-Identifier: MIT
"""What is fuzzed: the names of the modules here that have a ``run``, each with its share of the time."""

from __future__ import annotations

TARGETS: dict[str, int] = {
    "rings": 6,
    "packed_rings": 6,
    "header": 6,
    "client": 2,
    "server": 2,
    "channel": 1,
    "configuration": 2,
    "devices": 5,
    "front_end": 3,
    "region": 2,
    "state_object": 1,
}
