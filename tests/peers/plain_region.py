# SPDX-License-Identifier: MIT
"""One link on a memory file, for peers that are written down to the byte and share no code with the package."""

from __future__ import annotations

import mmap
import os
import select
import time
from collections.abc import Callable

LINK = 0x2000
"""Where the link's State Table lies; the window follows one page later."""
STATE_TABLE = 4096
BACKEND, FRONTEND = 0, 1


class PlainRegion:
    """Memory and eventfds of a link between two peers. Offsets are bytes from the start of the window."""

    def __init__(self, window: int, backend_vectors: int, frontend_vectors: int) -> None:
        self.window = window
        self.memory = os.memfd_create("plain-region")
        os.ftruncate(self.memory, LINK + STATE_TABLE + window)
        self.doorbells = {
            BACKEND: [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(backend_vectors)],
            FRONTEND: [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(frontend_vectors)],
        }
        self._map = mmap.mmap(self.memory, 0)
        self._bytes = memoryview(self._map)
        # Casts keep every aligned access a single load or store, as other peers expect it.
        view = self._bytes
        self._words: dict[int, memoryview[int]] = {1: view, 2: view.cast("H"), 4: view.cast("I"), 8: view.cast("Q")}

    def load(self, offset: int, size: int) -> int:
        at = LINK + STATE_TABLE + offset
        return (
            self._words[size][at // size] if at % size == 0 else int.from_bytes(self._bytes[at : at + size], "little")
        )

    def store(self, offset: int, size: int, value: int) -> None:
        at = LINK + STATE_TABLE + offset
        if at % size == 0:
            self._words[size][at // size] = value
        else:
            self._bytes[at : at + size] = value.to_bytes(size, "little")

    def read(self, offset: int, length: int) -> bytes:
        at = LINK + STATE_TABLE + offset
        return bytes(self._bytes[at : at + length])

    def write(self, offset: int, data: bytes) -> None:
        at = LINK + STATE_TABLE + offset
        self._bytes[at : at + len(data)] = data

    def state(self, peer: int) -> int:
        return self._words[4][LINK // 4 + peer]

    def set_state(self, peer: int, value: int) -> None:
        """Own entry, then the other's vector 0."""
        self._words[4][LINK // 4 + peer] = value
        self.ring(1 - peer, 0)

    def ring(self, peer: int, vector: int) -> None:
        if vector < len(self.doorbells[peer]):
            os.eventfd_write(self.doorbells[peer][vector], 1)

    def wait(self, peer: int, seconds: float) -> set[int]:
        """Own vectors that were rung, within ``seconds``."""
        files = self.doorbells[peer]
        ready = select.select(files, [], [], seconds)[0]
        for file in ready:
            os.eventfd_read(file)
        return {files.index(file) for file in ready}

    def close(self) -> None:
        for view in self._words.values():
            view.release()
        self._map.close()
        for file in (*self.doorbells[BACKEND], *self.doorbells[FRONTEND], self.memory):
            os.close(file)


def soon(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether ``condition`` comes true in time; spins, as peers of revision 1 do, but lets others run."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return condition()
        time.sleep(0)
    return True
