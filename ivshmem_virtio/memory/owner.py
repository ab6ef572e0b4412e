# SPDX-License-Identifier: MIT
"""Who is to own regions and sockets, as written on a command line."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass

from ivshmem_virtio.memory.errors import UnknownOwner

UNCHANGED = -1


@dataclass(frozen=True)
class Owner:
    """Numbers for chown(2); -1 leaves one as it is."""

    user: int = UNCHANGED
    group: int = UNCHANGED

    @classmethod
    def parse(cls, text: str) -> Owner:
        """``user``, ``user:group`` or ``:group``, by name or number; raises UnknownOwner."""
        user, _, group = text.partition(":")
        return cls(user_number(user), group_number(group))


def user_number(name: str) -> int:
    if not name or name.isdecimal():
        return int(name or UNCHANGED)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise UnknownOwner(f"there is no user {name!r}") from error


def group_number(name: str) -> int:
    if not name or name.isdecimal():
        return int(name or UNCHANGED)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise UnknownOwner(f"there is no group {name!r}") from error
