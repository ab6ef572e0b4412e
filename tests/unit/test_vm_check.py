# SPDX-License-Identifier: MIT
"""A report passes only when something was checked and nothing failed."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from ivshmem_virtio.vm.check import Report
from ivshmem_virtio.vm.errors import VmError


def test_an_empty_report_has_not_passed() -> None:
    assert not Report().passed


def test_equal_means_passed_unless_said_otherwise() -> None:
    report = Report()
    report.add("same", 3, 3)
    assert report.passed
    report.add("enough", "at least 3", 4, True)
    assert report.passed
    report.add("different", 3, 4)
    assert not report.passed


def test_an_error_is_a_failed_check_and_the_next_goes_on() -> None:
    report = Report()
    with report.guarding("disk", "works"):
        raise VmError("two\nlines")
    report.add("next", 1, 1)
    assert [(check.name, check.seen, check.passed) for check in report.checks] == [
        ("disk", "failed: two lines", False),
        ("next", "1", True),
    ]
    assert not report.passed


def test_people_and_programs_read_the_same(tmp_path: Path) -> None:
    report = Report({"kernel": "6.1"})
    report.add("[odd] name", "[a]", "b")
    report.write_json(tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["kernel"] == "6.1"
    assert found["passed"] is False
    assert found["checks"][0] | {"seconds": 0} == {
        "name": "[odd] name",
        "expected": "[a]",
        "seen": "b",
        "passed": False,
        "seconds": 0,
    }
    printed = Console(file=io.StringIO(), width=100)
    report.print_table(printed)
    assert isinstance(printed.file, io.StringIO)
    text = printed.file.getvalue()
    assert "[odd] name" in text
    assert "[a]" in text
    assert "FAIL" in text
    assert "kernel 6.1" in text
