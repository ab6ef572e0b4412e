# SPDX-License-Identifier: MIT
"""How long nothing came back, from when things came back and when something was killed. All times in seconds."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median, quantiles

STARTS = 15
SEEN_SECONDS = 0.1
MANY_KILLS = 200
MEDIAN_MS = 300


Gap = tuple[float, float]
"""From one completion to the next."""


def outages(gaps: Sequence[Gap], kills: Sequence[float]) -> dict[float, int]:
    """From the length of each pause to the number of kills it has in it.

    Of a kill it is the longest time between two completions, the second of which came after it, and the first before it
    or (published before, but seen later) shortly after it. Kills between which nothing came back share a pause.
    """
    found: dict[Gap, int] = {}
    for kill in kills:
        candidates = [gap for gap in gaps if gap[1] > kill and gap[0] < kill + SEEN_SECONDS]
        if candidates:
            longest = max(candidates, key=lambda gap: gap[1] - gap[0])
            found[longest] = found.get(longest, 0) + 1
    return {after - before: number for (before, after), number in found.items()}


def python_start() -> float:
    """Median of what starting an interpreter takes, under whatever load there is at this moment."""
    took = []
    for _ in range(STARTS):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        took.append(time.monotonic() - began)
    return median(took)


def in_milliseconds(pauses: Sequence[float], start: float) -> dict[str, int]:
    """Columns for a row of figures: the pauses without the start of an interpreter, and that start."""
    assert pauses, "there was no pause"
    net = [max(pause - start, 0.0) for pause in pauses]
    high = quantiles(net, n=20, method="inclusive")[-1] if len(net) > 1 else net[0]
    columns = {"median_ms": median(net), "p95_ms": high, "max_ms": max(net), "python_ms": start}
    return {name: round(seconds * 1000) for name, seconds in columns.items()}


def assert_short(columns: dict[str, int], kills: int) -> None:
    """Hold the median to its limit, but only where many kills make one and nothing else runs: in the long form."""
    if kills >= MANY_KILLS:
        assert columns["median_ms"] < MEDIAN_MS, columns


def taken_again(log: str) -> int:
    """Requests that successors took once more, by what they say: the most that was carried out twice."""
    return sum(int(count) for count in re.findall(r"resumed, features \S+, (\d+) chains again", log))
