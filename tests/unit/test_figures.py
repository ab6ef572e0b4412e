# SPDX-License-Identifier: MIT
"""The table of figures."""

from __future__ import annotations

from tests.figures import Figure, table


def test_columns_are_the_union_and_numbers_stand_to_the_right() -> None:
    rows: list[tuple[str, dict[str, Figure]]] = [
        ("disk", {"kills": 200, "median_ms": 101.26}),
        ("console", {"kills": 5, "lost": "none"}),
    ]
    assert table(rows) == [
        "what     kills  median ms  lost",
        "disk       200      101.3",
        "console      5             none",
    ]


def test_without_rows_there_is_no_table() -> None:
    assert table([]) == []
