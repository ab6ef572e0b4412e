# SPDX-License-Identifier: MIT
"""Descriptors that systemd passes to the service: its sockets, so that a QEMU that is early waits, and its store."""

from __future__ import annotations

import os
import socket
import stat
from functools import cache
from pathlib import Path

FIRST_DESCRIPTOR = 3
"""Where sd_listen_fds(3) says that the passed descriptors begin."""
STORED_PREFIX = "ivshmem-virtio/"
"""Names of the descriptors that an earlier keeper put into the store begin with this."""


@cache
def _passed() -> list[tuple[str, int]]:
    """Name and number of every descriptor passed to this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (count - len(names))
    numbers = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count)
    for number in numbers:
        os.set_inheritable(number, False)
    return list(zip(names, numbers, strict=False))


@cache
def _sockets() -> dict[str, socket.socket]:
    """The listening unix sockets passed to this process, by path."""
    numbers = [number for name, number in _passed() if not name.startswith(STORED_PREFIX)]
    sockets = [socket.socket(fileno=number) for number in numbers if stat.S_ISSOCK(os.fstat(number).st_mode)]
    return {os.path.realpath(passed.getsockname()): passed for passed in sockets if passed.family == socket.AF_UNIX}


def inherited_socket(path: Path) -> socket.socket | None:
    """The passed socket that listens at ``path``, if there is one."""
    return _sockets().get(os.path.realpath(path))


def stored_files() -> dict[str, int]:
    """What an earlier keeper of this unit put into systemd's store, by the names it gave."""
    return {name.removeprefix(STORED_PREFIX): number for name, number in _passed() if name.startswith(STORED_PREFIX)}
