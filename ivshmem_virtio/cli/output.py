# SPDX-License-Identifier: MIT
"""Standard output for tables."""

from __future__ import annotations

from rich.console import Console

LEAST_WIDTH = 120


def wide_console() -> Console:
    """Never narrower than our tables: a terminal wraps lines more readably than a table its cells."""
    width = Console().width
    return Console(width=max(width, LEAST_WIDTH), highlight=False)
