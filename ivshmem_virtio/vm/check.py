# SPDX-License-Identifier: MIT
"""What a demonstration finds: expected against seen, for people as a table, for programs as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ivshmem_virtio.errors import IvshmemVirtioError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``seconds`` since the check before it."""

    name: str
    expected: str
    seen: str
    passed: bool
    seconds: float


@dataclass
class Report:
    """Checks in the order in which they were made, and what is said about the run as a whole in ``about``."""

    about: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    _last: float = field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def add(self, name: str, expected: object, seen: object, passed: bool | None = None) -> None:
        """Note a check; it passes when both are equal, unless ``passed`` says otherwise."""
        now = time.monotonic()
        verdict = expected == seen if passed is None else passed
        self.checks.append(Check(name, str(expected), str(seen), verdict, round(now - self._last, 2)))
        self._last = now

    @contextmanager
    def guarding(self, name: str, expected: str) -> Iterator[None]:
        """Turn an error in the block into a failed check, so that the checks after it are made too."""
        try:
            yield
        except (IvshmemVirtioError, OSError) as error:
            self.add(name, expected, f"failed: {' '.join(str(error).split())}"[:400], False)

    def write_json(self, path: Path) -> None:
        """The report for programs."""
        checks = [asdict(check) for check in self.checks]
        path.write_text(json.dumps({**self.about, "passed": self.passed, "checks": checks}, indent=2) + "\n")

    def print_table(self, console: Console) -> None:
        """The report for people."""
        title = "  ".join(f"{key} {value}" for key, value in self.about.items())
        table = Table(title=escape(title), title_justify="left")
        table.add_column("check")
        table.add_column("expected", overflow="fold")
        table.add_column("seen", overflow="fold")
        table.add_column("result")
        table.add_column("s", justify="right")
        for check in self.checks:
            verdict = "[green]pass[/]" if check.passed else "[bold red]FAIL[/]"
            table.add_row(
                escape(check.name), escape(check.expected), escape(check.seen), verdict, f"{check.seconds:.1f}"
            )
        console.print(table)


Show = Callable[[str, str], None]
"""Prints output of the guest: a title, and the text as it is."""
