# SPDX-License-Identifier: MIT
"""What a back-end says of itself in the runtime folder: features and queue addresses, which no window shows at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError


class QueueStatus(BaseModel):
    """One queue as the back-end uses it. Addresses are window offsets."""

    index: int
    size: int
    desc: int
    driver: int
    device: int
    enabled: bool
    in_flight: int = 0
    packed: bool = False
    counters: dict[str, int] = {}
    """What a compiled engine has done, at the time of the file; empty for a queue that Python serves."""


class LinkStatus(BaseModel):
    """One device as the back-end sees it.

    ``served_by``: the device itself, errors in its place, or nobody; ``trouble`` says why where it is not the device.
    """

    name: str
    device_id: int
    offered: int = 0
    features: int = 0
    status: int = 0
    queues: tuple[QueueStatus, ...] = ()
    served_by: Literal["device", "errors", "nobody"] = "device"
    trouble: str | None = None


class BackendStatus(BaseModel):
    """One status file: one back-end's links of one guest, as they were at the last change of any device's status."""

    guest: str
    pid: int
    links: tuple[LinkStatus, ...]


def read_status(path: Path) -> BackendStatus | None:
    """The file's content, None where there is no file or one that no back-end of this version wrote."""
    try:
        return BackendStatus.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def process_lives(pid: int) -> bool:
    """Whether the writer of a status file still runs."""
    return Path(f"/proc/{pid}").exists()
