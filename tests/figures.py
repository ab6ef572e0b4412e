# SPDX-License-Identifier: MIT
"""Figures of long tests, as one table at the end of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import pytest

PROPERTY = "figures"

Figure = str | int | float


class Figures(Protocol):
    """``figures("disk, guest", kills=200, ...)``: one row. Columns are the names, in the order they first come."""

    def __call__(self, row: str, /, **values: Figure) -> None: ...


def recorder(item: pytest.Item) -> Figures:
    """Properties of a test travel with its report, from another process too."""

    def record(row: str, /, **values: Figure) -> None:
        item.user_properties.append((PROPERTY, (row, values)))

    return record


def table(rows: Iterable[tuple[str, Mapping[str, Figure]]]) -> list[str]:
    """Lines of a table; empty without rows. An underscore in a column's name is shown as a space."""
    cells = [{"what": row, **{name: _text(value) for name, value in values.items()}} for row, values in rows]
    if not cells:
        return []
    columns = list(dict.fromkeys(name for row in cells for name in row))
    lines = [{name: name.replace("_", " ") for name in columns}, *cells]
    widths = {name: max(len(line.get(name, "")) for line in lines) for name in columns}
    return ["  ".join(_aligned(name, line.get(name, ""), widths[name]) for name in columns).rstrip() for line in lines]


def _aligned(column: str, text: str, width: int) -> str:
    return text.ljust(width) if column == "what" else text.rjust(width)


def _text(value: Figure) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def reported(reports: Iterable[pytest.TestReport]) -> list[tuple[str, Mapping[str, Figure]]]:
    """The rows in reports of tests, each once."""
    rows: list[tuple[str, Mapping[str, Figure]]] = []
    for report in reports:
        if report.when == "call":
            for name, value in report.user_properties:
                if name == PROPERTY and isinstance(value, (tuple, list)):
                    rows.append((str(value[0]), value[1]))
    return rows
