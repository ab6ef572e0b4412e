# SPDX-License-Identifier: MIT
"""What a service takes of its host: memory of its own, and processor time, over all of its processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def processes(root: int) -> list[int]:
    """A process and everything that descends from it."""
    found = [root]
    for pid in found:
        for children in _read(PROC / str(pid) / "task", "*/children"):
            found += [int(child) for child in children.split()]
    return found


def own_memory(root: int) -> int:
    """Bytes that only these processes have (RssAnon): neither windows nor program files."""
    total = 0
    for pid in processes(root):
        for status in _read(PROC / str(pid), "status"):
            match = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
            total += int(match[1]) * 1024 if match else 0
    return total


def processor_seconds(root: int) -> float:
    """Time on a processor so far, over all threads."""
    nanoseconds = 0
    for pid in processes(root):
        for schedstat in _read(PROC / str(pid) / "task", "*/schedstat"):
            nanoseconds += int(schedstat.split()[0])
    return nanoseconds / 1e9


def _read(folder: Path, pattern: str) -> Iterator[str]:
    """Files of processes that may end meanwhile."""
    with suppress(OSError):
        for path in sorted(folder.glob(pattern)):
            with suppress(OSError):
                yield path.read_text()
