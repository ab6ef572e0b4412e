# SPDX-License-Identifier: MIT
"""The status file is written at once, but not without end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from ivshmem_virtio.service.status_file import BURST_SECONDS, WRITES_PER_SECOND, StatusFile

CHANGES = 1000


def test_a_storm_of_changes_is_written_now_and_then(tmp_path: Path) -> None:
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
    loop.call_later(BURST_SECONDS + 1, loop.stop)
    loop.run_forever()
    assert json.loads((tmp_path / "status.json").read_text()) == {"number": CHANGES}
    loop.close()
