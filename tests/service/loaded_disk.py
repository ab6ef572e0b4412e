# SPDX-License-Identifier: MIT
"""A disk that is busy at all times, and how long it stands still when something happens to its service."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

from .disk_load import DiskLoad
from .running_service import driving, socket_of, wait_until

SLOTS = 64
DEPTH = 8


@contextmanager
def under_load(config: Path, guest: str) -> Iterator[DiskLoad]:
    """The guest's disk is written and read at all times; each request returns once, and with the right content."""
    over = Event()
    failures: list[BaseException] = []
    with driving(socket_of(config, guest), "disk") as transport:
        image = config.parent / f"{guest}.img"
        load = DiskLoad(transport, image, random.Random(1), queues=1, depth=DEPTH, slots=SLOTS)

        def run() -> None:
            try:
                while not over.is_set():
                    load.step()
                load.drain()
            except BaseException as error:
                failures.append(error)

        thread = Thread(target=run)
        thread.start()
        try:
            wait_until(lambda: bool(failures) or len(load.returned) > DEPTH, "the disk answers")
            yield load
        finally:
            over.set()
            thread.join()
        assert not failures, failures
        load.assert_each_once()


def longest_gap(load: DiskLoad, action: Callable[[], object], seconds: float = 0.7) -> float:
    """Between two returns, while something happens and for some time after it."""
    began = len(load.returned) - 1
    action()
    time.sleep(seconds)
    wait_until(lambda: len(load.returned) > began + 1, "the disk answers")
    return max(after - before for before, after in pairwise(load.returned[began:]))
