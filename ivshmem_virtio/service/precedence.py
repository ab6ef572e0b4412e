# SPDX-License-Identifier: MIT
"""The order in which devices are opened again: those that may end the process come last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from ivshmem_virtio.transport.kept_link import KeptLink

PATIENCE_SECONDS = 5.0
"""For so long a suspect lets the others go first."""


class Precedence:
    """A device is suspect where its opening ended the process before. The others are served by then, so that they
    have not begun to resume in vain when it does so again.
    """

    def __init__(self, links: Sequence[KeptLink]) -> None:
        self._lock = Lock()
        self._left = sum(not link.openings for link in links)
        self._suspects: list[Callable[[], None]] = []

    def wait(self, go: Callable[[], None]) -> None:
        """Have ``go`` called once the first attempt of every device above suspicion has ended."""
        with self._lock:
            self._suspects.append(go)
            over = not self._left
        if over:
            go()

    def one_ended(self) -> None:
        """The first attempt of a device above suspicion has."""
        with self._lock:
            self._left -= 1
            called = self._suspects if not self._left else []
        for go in called:
            go()
