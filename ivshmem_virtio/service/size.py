# SPDX-License-Identifier: MIT
"""Sizes as people write them: ``64M``, ``8K``, ``4096``. Units are powers of 1024."""

from __future__ import annotations

import re

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
PATTERN = re.compile(r"(\d{1,18})([KMGT]?)(?:i?B)?")


def parse_size(text: object) -> int:
    """Bytes that ``text`` stands for; raises ValueError with the rule when it stands for none."""
    if isinstance(text, int) and not isinstance(text, bool):
        number, unit = text, ""
    else:
        match = PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise ValueError('is no size; write a whole number of bytes or one with K, M, G or T, such as "64M"')
        number, unit = int(match[1]), match[2]
    if number <= 0:
        raise ValueError("must be more than 0 bytes")
    return number * UNITS[unit]


def format_size(size: int) -> str:
    """The shortest exact way to write ``size`` bytes, such that parse_size gives it back."""
    for unit in ("T", "G", "M", "K"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def next_power_of_two(value: int) -> int:
    """The least power of two that is not below ``value``."""
    return 1 << max(value - 1, 0).bit_length()
