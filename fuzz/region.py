# SPDX-License-Identifier: MIT
"""A region full of lies, as a front-end that looks for its link reads it, and as ``inspect`` shows it.

The directory changes between two reads of it, too.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from fuzz.script import Script
from ivshmem_virtio.core import Window
from ivshmem_virtio.inspect.as_json import views_as_json
from ivshmem_virtio.inspect.as_text import print_guest
from ivshmem_virtio.inspect.guest_view import view_guest
from ivshmem_virtio.link.directory import read_entries
from ivshmem_virtio.link.directory_errors import DirectoryError
from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.link.layout import DIRECTORY_FIRST_ENTRY, PAGE_SIZE, LinkLayout
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.service.config import parse_config
from ivshmem_virtio.service.plan import LinkPlan, plan
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.registers import Registers

SCRATCH = tempfile.TemporaryDirectory(prefix="ivshmem-virtio-fuzz-")
FOLDER = Path(SCRATCH.name)
CONFIG = parse_config(
    """
    service = { name = "fuzzed", runtime_dir = "run" }
    [[guest]]
    name = "web"
    region = "512K"
    device = [{ type = "console", window = "128K", queue_size = 4 }, { type = "rng", window = "64K", queue_size = 8 }]
    """,
    FOLDER,
)
MADE = plan(CONFIG, CONFIG.guests[0])
PATH = FOLDER / "region"
HEADER_END = 0x300
"""Bytes of a window that hold registers and, behind them, the first ring."""


def publish(memory: int, link: LinkPlan) -> None:
    """A link whose both sides are at work."""
    window = Window(memory, link.layout.window_offset, link.layout.rw_size)
    registers = Registers(window, RegisterMap.of(12, link.shape.queue_sizes))
    queues = [
        QueueState(i, size, 0, registers.layout.ring_block(i)[0]) for i, size in enumerate(link.shape.queue_sizes)
    ]
    registers.publish(1, 2, bytes(12), queues)
    registers.show_queue(queues[0])
    registers.show_status(15)
    os.pwrite(memory, b"\1\0\0\0\1\0\0\0", link.layout.offset)


def good() -> bytes:
    """The region as a service leaves it."""
    PATH.write_bytes(bytes(MADE.size))
    memory = os.open(PATH, os.O_RDWR)
    try:
        DirectoryWriter(memory, MADE.size).set_up(MADE.layouts)
        for link in MADE.links:
            publish(memory, link)
        return os.pread(memory, MADE.used, 0)
    finally:
        os.close(memory)


GOOD = good()
MEMORY = os.open(PATH, os.O_RDWR)


def lie(script: Script) -> None:
    """One word where it matters: in the directory, or in the State Table and header of a link."""
    where = script.byte()
    place = script.byte() * 2
    if where & 1:
        link = script.choose(MADE.layouts)
        place = link.offset + place % 8 if where & 2 else link.window_offset + place * 2 % HEADER_END
    elif where & 2:
        place += DIRECTORY_FIRST_ENTRY
    os.pwrite(MEMORY, script.bytes(script.width()), place)


def restless(script: Script) -> Callable[[int, int], bytes]:
    """The region's bytes, which change from read to read."""

    def source(offset: int, length: int) -> bytes:
        if script.more and script.byte() & 1:
            lie(script)
        return os.pread(MEMORY, length, offset)

    return source


def check(layouts: list[LinkLayout]) -> None:
    """What a front-end takes for granted."""
    for layout in layouts:
        assert layout.offset >= PAGE_SIZE
        assert layout.end <= MADE.size
        assert layout.name
        assert layout.name.isprintable()
    ordered = sorted(layouts, key=lambda layout: layout.offset)
    assert all(one.end <= other.offset for one, other in pairwise(ordered))


def show(*, text: bool) -> None:
    """All that ``inspect`` makes of it; tables take their time."""
    view = view_guest(CONFIG, CONFIG.guests[0], 0, PATH)
    json.dumps(views_as_json("fuzzed", [view]))
    if text:
        print_guest(Console(file=io.StringIO(), width=200), view)


def run(data: bytes) -> None:
    """One region."""
    script = Script(data)
    os.pwrite(MEMORY, GOOD, 0)
    lies = script.byte()
    for _ in range(lies & 0x1F):
        lie(script)
    show(text=lies >= 0xE0)
    rejected: list[DirectoryError] = []
    with suppress(DirectoryError):
        entries = read_entries(restless(script), MADE.size, lambda number, error: rejected.append(error))
        check([entry.layout for entry in entries])
    with suppress(DirectoryError):
        check([entry.layout for entry in read_entries(restless(script), MADE.size)])
    assert all("\n" not in str(error) for error in rejected)
