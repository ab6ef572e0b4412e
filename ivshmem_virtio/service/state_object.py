# SPDX-License-Identifier: MIT
"""The private state object of a back-end and a guest (docs/protocol.md, 9): what outlives a killed process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict

from ivshmem_virtio.core import Window
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.link.layout import PAGE_SIZE, LinkLayout, round_up
from ivshmem_virtio.transport.features import OFFERED
from ivshmem_virtio.transport.kept_layout import (
    STATE_FIRST_LINK,
    STATE_MAGIC,
    STATE_VERSION,
    StateHeader,
)
from ivshmem_virtio.transport.kept_link import KeptLink


def identity_of(served: Sequence[tuple[LinkLayout, Device]]) -> bytes:
    """Equal where a successor may go on: the same devices, offering the same, over the same images, in the same place.

    The devices are open.
    """
    parts = [
        (
            sorted(asdict(layout).items()),
            device.device_id,
            OFFERED | device.features,
            list(device.queue_sizes),
            len(device.config),
            device.identity,
        )
        for layout, device in served
    ]
    return hashlib.sha256(repr((STATE_VERSION, parts)).encode()).digest()


def open_state(descriptor: int, served: Sequence[tuple[LinkLayout, Device]]) -> list[KeptLink]:
    """The record of each link in the memory file ``descriptor``, begun anew unless it is about the same devices."""
    sizes = [device.queue_sizes for _, device in served]
    length = round_up(STATE_FIRST_LINK + sum(KeptLink.length(size) for size in sizes), PAGE_SIZE)
    header = header_for(served)
    if os.fstat(descriptor).st_size != length or os.pread(descriptor, len(header), 0) != header:
        # An object that is interrupted here is shorter, or has no magic, and is begun anew once more.
        os.ftruncate(descriptor, 0)
        os.ftruncate(descriptor, length)
        os.pwrite(descriptor, header[len(STATE_MAGIC) :], len(STATE_MAGIC))
        os.pwrite(descriptor, STATE_MAGIC, StateHeader.STATE_MAGIC)
    window = Window(descriptor, 0, length)
    kept = []
    offset = STATE_FIRST_LINK
    for size in sizes:
        kept.append(KeptLink(window, offset, size))
        offset += KeptLink.length(size)
    return kept


def header_for(served: Sequence[tuple[LinkLayout, Device]]) -> bytes:
    """The first fields of the object, in their order."""
    numbers = STATE_VERSION.to_bytes(4, "little") + len(served).to_bytes(4, "little")
    return STATE_MAGIC + numbers + identity_of(served)
