# SPDX-License-Identifier: MIT
"""Suite ``copy``: copies between a window and private memory, as devices do them, beside memcpy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ivshmem_virtio.bench.generator import copy_rate
from ivshmem_virtio.bench.run import Case, Figure, Run
from ivshmem_virtio.core import Window
from ivshmem_virtio.service.size import format_size

SIZES = (4 << 10, 64 << 10, 1 << 20)
SPREAD_OUT = 32 << 20
"""More than the caches of one processor hold."""


def run(bench: Run) -> None:
    """Each size in both directions; the whole run also over more memory than caches hold."""
    with _window(SPREAD_OUT) as window:
        for size in SIZES:
            for into in (True, False):
                for room in (size,) if bench.quick else (size, SPREAD_OUT):
                    _compare(bench, window, size, into, room)


@contextmanager
def _window(length: int) -> Iterator[Window]:
    memory = os.memfd_create("bench", os.MFD_CLOEXEC)
    try:
        os.truncate(memory, length)
        window = Window(memory, 0, length)
    finally:
        os.close(memory)
    try:
        window.zero(0, length)
        yield window
    finally:
        window.close()


def _compare(bench: Run, window: Window, size: int, into: bool, room: int) -> None:
    def rate(seconds: float, *, plain: bool) -> Figure:
        return Figure(copy_rate(window, 0, room, size, seconds, into=into, plain=plain))

    direction = "into window" if into else "out of window"
    where = "cached" if room == size else f"over {format_size(room)}"
    bench.compare(
        Case("copy", f"{format_size(size)} {direction}, {where}", "byte/s", "memcpy"),
        partial(rate, plain=False),
        partial(rate, plain=True),
    )
