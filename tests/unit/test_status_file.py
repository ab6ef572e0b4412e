# SPDX-License-Identifier: MIT
"""The status file is written at once, but not without end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ivshmem_virtio.service import status_file
from ivshmem_virtio.service.status_file import WRITES_PER_SECOND, StatusFile

CHANGES = 1000
BURST_SECONDS = 1.0


def test_a_storm_of_changes_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_file, "BURST_SECONDS", BURST_SECONDS)
    loop = asyncio.new_event_loop()
    written: list[int] = []
    number = 0

    def describe() -> dict[str, int]:
        written.append(number)
        return {"number": number}

    status = StatusFile(tmp_path / "status.json", loop, describe)
    while number < CHANGES:
        status.changed()
        number += 1
    # Every one of the first, as a program that looks afterwards expects.
    first = written[: int(WRITES_PER_SECOND * BURST_SECONDS)]
    assert first == list(range(len(first)))
    assert len(written) < CHANGES / 10
    deadline = loop.time() + 60
    while json.loads((tmp_path / "status.json").read_text()) != {"number": CHANGES}:
        assert loop.time() < deadline, "the last change is missing"
        loop.run_until_complete(asyncio.sleep(0.01))
    assert written[-1] == CHANGES
    loop.close()
