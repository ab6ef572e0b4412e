# SPDX-License-Identifier: MIT
"""Which settings of a disk make sense."""

from __future__ import annotations

from collections.abc import Mapping

from ivshmem_virtio.devices.blk_plane import AIO
from ivshmem_virtio.devices.blk_request import ID_LENGTH
from ivshmem_virtio.devices.device import DeviceError

MINIMUM_WINDOW = 64 << 10
BACKENDS = ("image", "null")


class BlkOptionInvalid(DeviceError):
    """A setting of a block device makes no sense."""


def check_options(
    name: str,
    window: int,
    queues: int,
    serial: str | None,
    limits: Mapping[str, int | None],
    delay_ms: int,
    *,
    backend: str,
    aio: str,
) -> None:
    """Raises BlkOptionInvalid. ``limits``: what there may be of something in a second, by key."""
    if window < MINIMUM_WINDOW:
        raise BlkOptionInvalid(f"disk {name}: a window of {window} bytes is too small, {MINIMUM_WINDOW} is the least")
    if queues < 1:
        raise BlkOptionInvalid(f"disk {name}: {queues} queues make no disk, 1 is the least")
    if serial is not None and (len(serial) > ID_LENGTH or not serial.isascii()):
        raise BlkOptionInvalid(f"disk {name}: serial {serial!r} is not at most {ID_LENGTH} ASCII characters")
    for key, limit in limits.items():
        if limit is not None and limit < 1:
            raise BlkOptionInvalid(f"disk {name}: {key} = {limit} lets nothing through, 1 is the least")
    if delay_ms < 0:
        raise BlkOptionInvalid(f"disk {name}: delay_ms = {delay_ms} lies in the past, 0 is the least")
    if backend not in BACKENDS:
        raise BlkOptionInvalid(f"disk {name}: backend = {backend!r} is none of {', '.join(BACKENDS)}")
    if aio not in AIO:
        raise BlkOptionInvalid(f"disk {name}: aio = {aio!r} is none of {', '.join(AIO)}")
