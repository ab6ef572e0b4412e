# SPDX-License-Identifier: MIT
"""A record of every ring and every chain a device side met, to prove where they lie (one JSON object a line)."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TextIO

from ivshmem_virtio.core import Chain, DeviceQueue


class Trace:
    """Lines about one link, appended to a file shared by the links of a back-end. Offsets are of the window."""

    def __init__(self, path: Path, link: str, window_length: int) -> None:
        self._link = link
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        self._window_length = window_length

    def follow(self, index: int, ring: DeviceQueue) -> None:
        """A queue was enabled: record where it lies, and from now on what is taken from it."""
        areas = {"desc": ring.desc, "driver": ring.driver, "device": ring.device, "size": ring.size}
        self._write({"event": "enable", "queue": index, **areas})
        ring.watch(partial(self._chain, index))

    def _chain(self, queue: int, chain: Chain) -> None:
        """One chain that was taken, with its indirect table if it has one."""
        record = {"event": "chain", "queue": queue, "head": chain.head, "table": chain.table}
        self._write({**record, "readable": chain.readable, "writable": chain.writable})

    def _write(self, record: dict[str, object]) -> None:
        self._file.write(json.dumps({"link": self._link, "window": self._window_length, **record}) + "\n")
