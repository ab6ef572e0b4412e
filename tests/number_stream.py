# SPDX-License-Identifier: MIT
"""A byte stream of numbered lines, which tells what of it was lost and what came twice."""

from __future__ import annotations

import re
from dataclasses import dataclass

WIDTH = 8
LINE = re.compile(rb"[0-9]{8}\n")


def numbers(first: int, count: int) -> bytes:
    """``count`` lines, from line ``first`` on."""
    return b"".join(b"%0*d\n" % (WIDTH, number) for number in range(first, first + count))


@dataclass(frozen=True)
class Found:
    """What a stream lacks, or has more than once: in lines."""

    lines: int
    lost: int
    repeated: int


def check_numbers(data: bytes) -> Found:
    """Compare a stream with one that was sent from line 0 on; a broken line fails."""
    assert len(data) % (WIDTH + 1) == 0, f"{len(data)} bytes are no whole number of lines"
    lines = [data[start : start + WIDTH + 1] for start in range(0, len(data), WIDTH + 1)]
    broken = next((line for line in lines if not LINE.fullmatch(line)), None)
    assert broken is None, f"line {broken!r} was not sent so"
    seen = [int(line) for line in lines]
    expected = lost = repeated = 0
    for number in seen:
        if number < expected:
            repeated += 1
        else:
            lost += number - expected
            expected = number + 1
    return Found(len(seen), lost, repeated)
