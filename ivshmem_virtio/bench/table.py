# SPDX-License-Identifier: MIT
"""The figures as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from rich.table import Table

from ivshmem_virtio.bench.report import Row

STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Three digits that matter: 1.23M, 45.6k, 7.89."""
    for size, letter in STEPS:
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def table(rows: Iterable[Row]) -> Table:
    """One line for each row. A star marks ratios in doubt, because the machine changed in some of the pairs."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("suite", "case", "unit"):
        found.add_column(name)
    for name in ("ours", "peer", "ratio", "least", "most", "line ns"):
        found.add_column(name, justify="right")
    found.add_column("beside")
    for row in rows:
        least, most = row.spread.ratio
        trip = median(trip for pair in row.runs for trip in pair.round_trip_ns)
        found.add_row(
            row.suite,
            row.case,
            row.unit,
            short(row.ours),
            short(row.peer),
            f"{row.ratio:.2f}{'*' if row.flipped else ''}",
            f"{least:.2f}",
            f"{most:.2f}",
            f"{trip:.0f}",
            row.peer_name,
        )
    return found
