# SPDX-License-Identifier: MIT
"""Option values of ``ivshmem-virtio server`` that click does not know; each function raises click.BadParameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import click

from ivshmem_virtio.service.size import parse_size

OCTAL_MODE = re.compile("0?[0-7]{3}")
GUEST_KEYS = ("id", "vectors")


@dataclass(frozen=True)
class Guest:
    """One ``--guest``: None stands for a default."""

    name: str
    path: Path
    peer_id: int | None
    vectors: int | None


def guest(text: str) -> Guest:
    """NAME=PATH[,id=N][,vectors=N]"""
    name, _, rest = text.partition("=")
    path, *settings = rest.split(",")
    if not name or not path:
        raise click.BadParameter(f"{text!r} is not NAME=PATH[,id=N][,vectors=N]")
    numbers: dict[str, int] = {}
    for setting in settings:
        key, _, number = setting.partition("=")
        if key not in GUEST_KEYS or key in numbers or not number.isdecimal():
            raise click.BadParameter(f"{setting!r} in {text!r}: after the path come only id=N and vectors=N, once each")
        numbers[key] = int(number)
    return Guest(name, Path(path), numbers.get("id"), numbers.get("vectors"))


def size(text: str) -> int:
    """Bytes, or with a unit."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}") from error


def mode(text: str) -> int:
    """Permission bits as chmod(1) takes them."""
    if OCTAL_MODE.fullmatch(text) is None:
        raise click.BadParameter(f"{text!r} is no octal mode such as 600 or 660")
    return int(text, 8)
