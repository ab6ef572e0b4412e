# SPDX-License-Identifier: MIT
"""docs/conformance.md: every row has a number, a rule and a test that exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "conformance.md").read_text()
ROWS = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in re.findall(r"^\| \d.*$", TEXT, re.M)]
WHO = {"device", "driver", "both", "module"}
CHAPTERS = [
    "2.1.1",
    "2.1.2",
    "2.2.1",
    "2.2.2",
    "2.4.1",
    "2.5.1",
    "2.5.2",
    "2.6.1.1.1",
    "2.6.1.1.2",
    "2.7.1",
    "2.7.4.1",
    "2.7.4.2",
    "2.7.5.1",
    "2.7.5.2",
    "2.7.5.3.1",
    "2.7.5.3.2",
    "2.7.6.1",
    "2.7.7.1",
    "2.7.7.2",
    "2.7.8.2",
    "2.7.8.3",
    "2.7.10.1",
    "2.7.10.2",
    "2.7.13.3.1",
    "2.7.13.4.1",
    "2.8",
    "2.10.2",
    "2.12",
    "2.13",
    "3.1.1",
    "3.3.1",
    "4",
    "6.1",
    "6.2",
]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def functions(path: str) -> frozenset[str]:
    """Names of the test functions of a file, without running it."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_numbers_have_no_holes() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) > 80


def test_every_section_with_requirements_has_a_row() -> None:
    assert not set(CHAPTERS) - {row[1] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_row(row: tuple[str, ...]) -> None:
    assert len(row) == 5, "number, section, who, rule, test"
    number, _, who, rule, shown = row
    assert who in WHO, f"row {number}: {who}"
    assert rule
    tests = NAMED.findall(shown)
    assert tests, f"row {number} names no test"
    for path, name in tests:
        assert path.startswith("tests/"), path
        assert name.startswith("test_"), name
        assert (ROOT / path).is_file(), f"row {number}: {path} does not exist"
        assert name in functions(path), f"row {number}: {path} has no {name}"


def test_a_row_about_a_feature_that_is_missing_says_so() -> None:
    refused = "test_features_of_other_layouts_and_transports_are_neither_offered_nor_accepted"
    for row in ROWS:
        assert (refused in row[4]) == row[4].startswith("not offered"), f"row {row[0]}"
