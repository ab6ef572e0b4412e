# SPDX-License-Identifier: MIT
"""A folder like that of an ivshmem function in sysfs, with real memory and a doorbell that a thread watches."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

from tests.peers.plain_region import BACKEND, PlainRegion

OWN_PEER = 5
SILENT = 0xFFFFFFFF


class Function:
    """A folder with the files of a PCI function; a thread turns stores to its doorbell into eventfd writes."""

    def __init__(self, folder: Path, region: PlainRegion) -> None:
        self.folder = folder
        self.region = region
        folder.mkdir()
        for name, text in (("vendor", "0x1af4\n"), ("device", "0x1110\n"), ("enable", "0\n")):
            (folder / name).write_text(text)
        (folder / "resource").write_text("0x00000000febf1000 0x00000000febf10ff 0x0000000000040200\n")
        (folder / "resource0").write_bytes(bytes(4096))
        (folder / "resource2").symlink_to(f"/proc/{os.getpid()}/fd/{region.memory}")
        with (folder / "resource0").open("r+b") as file:
            self._registers = mmap.mmap(file.fileno(), 4096)
        self._words = memoryview(self._registers).cast("I")
        self._words[2] = OWN_PEER
        self._words[3] = SILENT
        self.rung: set[int] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.0005):
            value = self._words[3]
            if value != SILENT:
                self._words[3] = SILENT
                self.rung.add(value)
                # A store that came in between is one doorbell with this one, so look at everything.
                for vector in range(len(self.region.doorbells[BACKEND])):
                    self.region.ring(BACKEND, vector)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._words.release()
        self._registers.close()
