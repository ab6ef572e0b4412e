# SPDX-License-Identifier: MIT
"""Lengths of time as people write them: ``90s``, ``500ms``, ``2m``, ``1.5``. Without a unit, seconds."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
PATTERN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|m|h)?")
LONGEST_SECONDS = 7 * 24 * 3600.0


def parse_duration(text: object) -> float:
    """Seconds that ``text`` stands for; raises ValueError with the rule when it stands for none."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text)
    else:
        match = PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise ValueError('is no length of time; write seconds, or a number with ms, s, m or h, such as "90s"')
        seconds = float(match[1]) * UNITS[match[2] or ""]
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError("must be from 0 to 7 days")
    return seconds
