# SPDX-License-Identifier: MIT
"""Who is to own regions and sockets, as written on a command line."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable
from dataclasses import dataclass

from ivshmem_virtio.memory.errors import UnknownOwner

UNCHANGED = -1
LARGEST_NUMBER = (1 << 32) - 2
"""Of a user or group: the last 32-bit number means UNCHANGED to chown(2)."""


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
    return number_of("user", name, lambda known: pwd.getpwnam(known).pw_uid)


def group_number(name: str) -> int:
    return number_of("group", name, lambda known: grp.getgrnam(known).gr_gid)


def number_of(kind: str, name: str, look_up: Callable[[str], int]) -> int:
    """The number that chown(2) takes; raises UnknownOwner where there is none."""
    if not name:
        return UNCHANGED
    if name.isascii() and name.isdecimal():
        number = int(name) if len(name) <= len(str(LARGEST_NUMBER)) else LARGEST_NUMBER + 1
        if number > LARGEST_NUMBER:
            raise UnknownOwner(f"{kind} number {name:.20}: must be 0 to {LARGEST_NUMBER}")
        return number
    try:
        return look_up(name)
    except (KeyError, ValueError) as error:
        # ValueError: no name in the data base has a zero byte, so the system is not even asked.
        raise UnknownOwner(f"there is no {kind} {name!r}") from error
