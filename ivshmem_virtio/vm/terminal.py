# SPDX-License-Identifier: MIT
"""Connects our terminal with a console's socket, key by key."""

from __future__ import annotations

import os
import select
import socket
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Control-], as telnet and many consoles have it.
_LEAVE = b"\x1d"


def connect_terminal(path: Path, source: int, sink: int, alive: Callable[[], bool]) -> None:
    """Copy descriptor ``source`` to the unix socket at ``path``, and what comes from there to descriptor ``sink``.

    Ends when control-] is typed, when the socket closes, or when ``alive`` says no. The end of ``source`` alone ends
    nothing: what was piped in may still have an answer.
    """
    with socket.socket(socket.AF_UNIX) as connection, _raw(source):
        connection.connect(str(path))
        watched = [connection.fileno(), source]
        while alive():
            readable, _, _ = select.select(watched, [], [], 0.2)
            if connection.fileno() in readable:
                data = connection.recv(1 << 16)
                if not data:
                    return
                _write(sink, data)
            if source in readable:
                keys = os.read(source, 4096)
                if not keys:
                    watched.remove(source)
                before, leave, _ = keys.partition(_LEAVE)
                connection.sendall(before)
                if leave:
                    return


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Every key as it is typed, for the length of the block; nothing where there is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
