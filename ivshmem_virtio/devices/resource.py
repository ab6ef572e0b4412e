# SPDX-License-Identifier: MIT
"""What a device opens on the host, said beforehand, so that its process can give up everything else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Access(Enum):
    """What a device does with a path."""

    READ = auto()
    """Reads it."""
    WRITE = auto()
    """Reads and writes it, changes its length, controls it (ioctl). It exists."""
    CREATE = auto()
    """As WRITE; a file that is made, empty, where it is missing."""
    FOLDER = auto()
    """Everything in this folder: files, FIFOs, sockets and links are made, used and removed there."""
    CONNECT = auto()
    """Connects to the unix socket there, whenever there is one."""
    LISTEN = auto()
    """Makes a unix socket there, and removes what an earlier process left; so also beside it, in its folder."""
    LINK = auto()
    """Makes a symbolic link there, and removes it; so also beside it, in its folder."""


@dataclass(frozen=True)
class Resource:
    """A path on the host, and what is done with it."""

    path: str
    access: Access
