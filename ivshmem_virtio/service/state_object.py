# SPDX-License-Identifier: MIT
"""The private state object of a back-end and a guest (docs/protocol.md, 9): what outlives a killed process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict

from ivshmem_virtio.core import Window
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.link.layout import PAGE_SIZE, round_up
from ivshmem_virtio.service.attachment import ServedLink
from ivshmem_virtio.transport.features import OFFERED, Feature
from ivshmem_virtio.transport.kept_layout import (
    STATE_FIRST_LINK,
    STATE_MAGIC,
    STATE_VERSION,
    StateHeader,
)
from ivshmem_virtio.transport.kept_link import KeptLink


def offered_features(device: Device) -> int:
    """Feature bits that the device, or its configuration, chooses to offer."""
    return int(device.features | (Feature.RING_PACKED if device.packed else 0))


def identity_of(device: Device) -> bytes:
    """Equal where a successor may go on: a device that offers the same, over the same image. The device is open."""
    parts = (int(OFFERED | offered_features(device)), list(device.queue_sizes), len(device.config), device.identity)
    return hashlib.sha256(repr(parts).encode()).digest()


def find_state(descriptor: int, links: Sequence[ServedLink]) -> list[KeptLink] | None:
    """The record of each link as a predecessor left it in the memory file ``descriptor``.

    None where there is none, or one about other links.
    """
    header = header_for(links)
    length = os.fstat(descriptor).st_size
    if not length or os.pread(descriptor, len(header), 0) != header:
        return None
    window = Window(descriptor, 0, length)
    kept: list[KeptLink] = []
    try:
        for _ in links:
            kept.append(KeptLink.found(window, kept[-1].end if kept else STATE_FIRST_LINK))
    except OutsideWindow:
        return None
    return kept


def make_state(descriptor: int, links: Sequence[ServedLink], devices: Sequence[Device]) -> list[KeptLink]:
    """A record for each link, from which nobody can go on yet."""
    shapes = [(device.queue_sizes, len(device.config), device.kept_length) for device in devices]
    length = round_up(STATE_FIRST_LINK + sum(KeptLink.length(*shape) for shape in shapes), PAGE_SIZE)
    # An object that is interrupted here has no magic, and is begun anew once more.
    os.ftruncate(descriptor, 0)
    os.ftruncate(descriptor, length)
    window = Window(descriptor, 0, length)
    kept: list[KeptLink] = []
    for shape in shapes:
        kept.append(KeptLink(window, kept[-1].end if kept else STATE_FIRST_LINK, *shape))
        kept[-1].lay_out()
    header = header_for(links)
    os.pwrite(descriptor, header[len(STATE_MAGIC) :], len(STATE_MAGIC))
    os.pwrite(descriptor, STATE_MAGIC, StateHeader.STATE_MAGIC)
    return kept


def header_for(links: Sequence[ServedLink]) -> bytes:
    """The first fields of the object, in their order."""
    numbers = STATE_VERSION.to_bytes(4, "little") + len(links).to_bytes(4, "little")
    parts = [(sorted(asdict(link.layout).items()), link.kind) for link in links]
    return STATE_MAGIC + numbers + hashlib.sha256(repr((STATE_VERSION, parts)).encode()).digest()
