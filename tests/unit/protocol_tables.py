# SPDX-License-Identifier: MIT
"""Reads the tables of docs/protocol.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


@dataclass(frozen=True)
class DocumentTable:
    """One Markdown table: the cells of its head, and of each row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Field:
    """One row of a table of offsets. ``size`` is None where it is no plain number."""

    offset: int
    size: int | None
    name: str
    row: tuple[str, ...]


def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def tables() -> list[DocumentTable]:
    """All tables, in the order of the document."""
    return tables_of(text())


def tables_of(markdown: str) -> list[DocumentTable]:
    """All tables of a piece of Markdown."""
    found: list[DocumentTable] = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", markdown, re.MULTILINE):
        lines = [_cells(line) for line in block.strip().splitlines()]
        found.append(DocumentTable(lines[0], tuple(lines[2:])))
    return found


def table(*, column: str) -> DocumentTable:
    """The one table whose head has this column."""
    matching = [found for found in tables() if column in found.head]
    assert len(matching) == 1, f"{len(matching)} tables with a column {column!r}"
    return matching[0]


def fields(column: str) -> list[Field]:
    """The rows of the table of offsets whose third column is ``column``."""
    found = table(column=column)
    assert found.head[:3] == ("off", "size", column)
    return [Field(int(row[0], 16), int(row[1]) if row[1].isdecimal() else None, row[2], row) for row in found.rows]


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))
