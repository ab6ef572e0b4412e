# SPDX-License-Identifier: MIT
"""The kinds of value a configuration holds, each with its rule: sizes, queue sizes, names, paths, addresses."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StrictInt, StrictStr, ValidationInfo

from ivshmem_virtio.service.duration import parse_duration
from ivshmem_virtio.service.size import is_power_of_two, parse_size

LARGEST_QUEUE = 32768  # virtio 1.4, 2.7
LONGEST_SOCKET_PATH = 107  # unix(7): sun_path without its terminating zero
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}")
INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
MAC_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class Table(BaseModel):
    """A TOML table: no key we do not know, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _name(value: str) -> str:
    if NAME.fullmatch(value) is None:
        raise ValueError('must be 1 to 64 letters, digits, "-" or "_", and begin with a letter or digit')
    return value


def _device_name(value: str) -> str:
    if DEVICE_NAME.fullmatch(value) is None:
        raise ValueError('must be 1 to 16 letters, digits, "-" or "_", and begin with a letter or digit')
    return value


def _queue_size(value: int) -> int:
    if not is_power_of_two(value) or not 2 <= value <= LARGEST_QUEUE:
        raise ValueError(f"must be a power of two from 2 to {LARGEST_QUEUE}")
    return value


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("must be a path, written as text")
    if not str(value) or "\0" in str(value):
        raise ValueError("must be a path that is not empty")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value


def _mac(value: str) -> str:
    if MAC_ADDRESS.fullmatch(value) is None:
        raise ValueError('must be six pairs of hexadecimal digits such as "52:54:00:12:34:56"')
    if int(value[:2], 16) & 1 or set(value) <= {"0", ":"}:
        raise ValueError("must be the address of one station: the first pair even, and not all zero")
    return value.lower()


def _interface(value: str) -> str:
    if INTERFACE.fullmatch(value) is None or value in (".", ".."):
        raise ValueError("must be a network interface name of 1 to 15 characters")
    return value


Size = Annotated[int, BeforeValidator(parse_size)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
QueueSize = Annotated[StrictInt, AfterValidator(_queue_size)]
Name = Annotated[StrictStr, AfterValidator(_name)]
DeviceName = Annotated[StrictStr, AfterValidator(_device_name)]
HostPath = Annotated[Path, BeforeValidator(_path)]
MacAddress = Annotated[StrictStr, AfterValidator(_mac)]
Interface = Annotated[StrictStr, AfterValidator(_interface)]


def stable_mac(*names: str) -> str:
    """A locally administered address that is the same each time for the same names."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return "52:54:" + ":".join(f"{byte:02x}" for byte in digest[:4])


def only_one_of(table: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The one of ``keys`` that ``table`` has; raises ValueError when it has none or several."""
    present = [key for key in keys if key in table]
    if len(present) != 1:
        raise ValueError(f"must have exactly one of {', '.join(keys)}")
    return present[0]
