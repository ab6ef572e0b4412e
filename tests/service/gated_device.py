# SPDX-License-Identifier: MIT
"""A device of somebody else whose opening goes wrong for as long as a file is there, in the way the file says."""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from pathlib import Path

from ivshmem_virtio.devices.resource import Access, Resource
from tests.unit.foreign_device import Echo


class Gated(Echo):
    """``gate``: the file. "raise" in it raises in ``open``, "exit" ends the process there."""

    def __init__(self, name: str, *, gate: str, window: int) -> None:
        super().__init__(name, depth=8, window=window)
        self._gate = Path(gate)

    @property
    def resources(self) -> Sequence[Resource]:
        return [Resource(str(self._gate), Access.READ)]

    def open(self, loop: AbstractEventLoop) -> None:
        word = self._gate.read_text() if self._gate.exists() else ""
        if word == "raise":
            raise ZeroDivisionError("the gate is shut")
        if word == "exit":
            os._exit(9)
