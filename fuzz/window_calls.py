# SPDX-License-Identifier: MIT
"""Calls to a window with any offset and length: served exactly where they lie inside, refused everywhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from fuzz.guarded import PAGE, guarded_window
from fuzz.script import Script
from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import OutsideWindow

WINDOW = guarded_window(PAGE)


def call_window(script: Script) -> None:
    """One call, checked against what Python's own arithmetic says of it."""
    script.choose((access, copy, exchange, show, map_again))(script)


def inside(offset: int, length: int) -> bool:
    return offset + length <= WINDOW.length


def expect(possible: bool, call: Callable[[], object]) -> None:
    """``call`` works where it can, and is refused by one of our own errors where not."""
    done = False
    with suppress(OutsideWindow, ValueError):
        call()
        done = True
    assert done == possible


def access(script: Script) -> None:
    """A store and a load of one integer."""
    width = script.width()
    offset = script.number(8) if script.byte() & 1 else script.place(PAGE)
    value = script.number(width)
    store, load = {
        1: (WINDOW.store8, WINDOW.load8),
        2: (WINDOW.store16, WINDOW.load16),
        4: (WINDOW.store32, WINDOW.load32),
        8: (WINDOW.store64, WINDOW.load64),
    }[width]
    possible = offset % width == 0 and inside(offset, width)
    expect(possible, lambda: store(offset, value))
    expect(possible, lambda: load(offset))
    assert not possible or load(offset) == value


def exchange(script: Script) -> None:
    """Compare and swap, with a fence."""
    offset, wanted = script.place(PAGE), script.number(4)
    possible = offset % 4 == 0 and inside(offset, 4)
    found = WINDOW.load32(offset) if possible else 0
    expect(possible, lambda: WINDOW.compare_exchange32(offset, wanted, 1))
    WINDOW.fence()
    assert not possible or WINDOW.load32(offset) == (1 if found == wanted else found)


def copy(script: Script) -> None:
    """Reading, writing and clearing a stretch."""
    offset, length = script.place(PAGE), script.number(2)
    data = script.bytes(script.byte())
    expect(inside(offset, length), lambda: WINDOW.zero(offset, length))
    expect(inside(offset, length), lambda: WINDOW.read(offset, length))
    expect(inside(offset, len(data)), lambda: WINDOW.write(offset, data))
    assert not inside(offset, len(data)) or WINDOW.read(offset, len(data)) == data


def show(script: Script) -> None:
    """A view of a stretch, as long as it lies inside."""
    offset, length = script.place(PAGE), script.number(2)
    expect(inside(offset, length), lambda: WINDOW.view(offset, length).tobytes())


def map_again(script: Script) -> None:
    """A window of a file that may be too short for it, written where that is allowed, and closed."""
    offset, length, size = script.byte() * PAGE, script.number(2), script.byte() * PAGE
    writable = bool(script.byte() & 1)
    memory = os.memfd_create("ivshmem-virtio-fuzz")
    try:
        os.ftruncate(memory, size)
        window = None
        with suppress(OutsideWindow, ValueError):
            window = Window(memory, offset, length, writable=writable)
        assert (window is not None) == (length > 0 and offset + length <= size)
    finally:
        os.close(memory)
    if window is not None:
        check_writable(window, writable)
        check_close(window)


def check_writable(window: Window, writable: bool) -> None:
    stores: tuple[Callable[[], None], ...] = (
        lambda: window.store8(0, 1),
        lambda: window.write(0, b"1"),
        lambda: window.zero(0, 1),
    )
    for store in stores:
        refused = False
        try:
            store()
        except TypeError:
            refused = True
        assert refused != writable


def check_close(window: Window) -> None:
    """Not while somebody looks; then it is gone."""
    view = window.view(0, 1)
    with suppress(BufferError):
        window.close()
        raise AssertionError("a window was unmapped under a view of it")
    view.release()
    window.close()
    window.close()
    with suppress(ValueError):
        window.load8(0)
        raise AssertionError("a closed window was read")
