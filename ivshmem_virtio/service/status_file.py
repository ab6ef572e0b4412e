# SPDX-License-Identifier: MIT
"""The status file of a guest: written at once as a rule, and now and then while a driver keeps changing its mind."""

from __future__ import annotations

import json
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from ivshmem_virtio.transport.allowance import Allowance

WRITES_PER_SECOND = 10
BURST_SECONDS = 5.0


class StatusFile:
    """Holds what ``describe`` returns, as JSON. ``changed`` may be called on any thread, ``loop`` runs late writes."""

    def __init__(self, path: Path, loop: AbstractEventLoop, describe: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._loop = loop
        self._describe = describe
        self._lock = Lock()
        self._allowance = Allowance(WRITES_PER_SECOND, BURST_SECONDS)
        self._late = False

    def changed(self) -> None:
        """There is something else to say: readable when this returns, or a moment later where that is so too often."""
        with self._lock:
            now = time.monotonic()
            wait = self._allowance.wait(now)
            if not wait:
                self._allowance.spend(now)
                self._write()
            elif not self._late:
                self._late = True
                self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._write_late)

    def _write_late(self) -> None:
        with self._lock:
            self._late = False
            self._allowance.spend(time.monotonic())
            self._write()

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._describe()))
        fresh.replace(self._path)
