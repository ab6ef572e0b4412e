# SPDX-License-Identifier: MIT
"""How programs we started end with us: in order on a signal, and by the kernel's hand when we cannot."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ivshmem_virtio.vm.packages import tool


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGTERM, and SIGHUP of a closed terminal, end the block like control-C does, so that everything is cleaned up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def ends_with_us(number: str) -> list[str]:
    """Prefix of a command: it gets signal ``number`` when the thread that started it ends, however that happens."""
    return [tool("setpriv", "util-linux"), "--pdeathsig", number, "--"]
