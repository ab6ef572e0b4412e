# SPDX-License-Identifier: MIT
"""Socket activation: listening sockets that systemd made before the service, so that a QEMU that is early waits."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

FIRST_DESCRIPTOR = 3
"""Where sd_listen_fds(3) says that the passed descriptors begin."""


@cache
def _passed() -> dict[str, socket.socket]:
    """The unix sockets passed to this process, by path."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=number) for number in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count)]
    for passed in sockets:
        passed.set_inheritable(False)
    return {os.path.realpath(passed.getsockname()): passed for passed in sockets if passed.family == socket.AF_UNIX}


def inherited_socket(path: Path) -> socket.socket | None:
    """The passed socket that listens at ``path``, if there is one."""
    return _passed().get(os.path.realpath(path))
