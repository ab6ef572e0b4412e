# SPDX-License-Identifier: MIT
"""A network namespace of its own for the calling thread, so that tests change nothing on the machine."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NoPrivateNetwork(Exception):
    """This process may not have a network namespace."""


@contextmanager
def private_network() -> Iterator[None]:
    """Inside the block, the calling thread and the processes it starts see an empty network with loopback up."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(_CLONE_NEWNET) != 0:
            raise NoPrivateNetwork(os.strerror(ctypes.get_errno()))
        try:
            ip("link set lo up")
            yield
        finally:
            if _libc.setns(home, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot return to the network namespace")
    finally:
        os.close(home)


def ip(arguments: str) -> None:
    """Run iproute2's ``ip``."""
    subprocess.run(["ip", *arguments.split()], check=True, timeout=60)
