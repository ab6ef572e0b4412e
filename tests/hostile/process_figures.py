# SPDX-License-Identifier: MIT
"""What a process holds: memory, descriptors, and which parts of which regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.service.running_service import open_files, region_mappings


@dataclass(frozen=True)
class Holding:
    """One process at one time. ``memory`` is its resident set without what it shares, bytes."""

    pid: int
    memory: int
    files: int
    slices: tuple[tuple[int, int], ...]


def holding(pid: int, region: str) -> Holding:
    """Of a process, as far as ``region`` (a name below /dev/shm) is concerned."""
    return Holding(pid, anonymous(pid), len(open_files(pid)), tuple(sorted(region_mappings(pid, region))))


def anonymous(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no RssAnon")
