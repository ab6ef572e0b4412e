# SPDX-License-Identifier: MIT
"""Which rule a chain broke: the rings are copied to where nobody changes them, and read by our own device side."""

from __future__ import annotations

import os

from ivshmem_virtio.core import DeviceQueue, Window
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.evil.driver.places import QueuePlace
from ivshmem_virtio.evil.driver.ring import RawRing
from ivshmem_virtio.evil.driver.target import Target
from ivshmem_virtio.transport.features import Feature

UNKNOWN = "unknown"


def broken_rule(target: Target, ring: RawRing, index: int) -> str:
    """Name of the error class for the first thing wrong behind where a ring's ``index`` was; "unknown" where the copy
    is in order, as after a change while the device was reading.
    """
    place = ring.place
    copy = _copy(target.window, place)
    try:
        queue = DeviceQueue(
            copy,
            place.size,
            place.ring.desc,
            place.ring.driver,
            place.ring.device,
            event_idx=bool(target.accepted & Feature.EVENT_IDX),
            indirect=bool(target.accepted & Feature.INDIRECT_DESC),
            packed=ring.packed,
            index=index & 0xFFFF,
            minimum=target.backend.registers_end,
        )
        while queue.pop() is not None:
            continue
    except IvshmemVirtioError as violation:
        return type(violation).__name__
    finally:
        copy.close()
    return UNKNOWN


def _copy(window: Window, place: QueuePlace) -> Window:
    """A private window of the same length: sparse but for the registers, the ring, and the room of its queue."""
    file = os.memfd_create("ivshmem-virtio-judge", os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, window.length)
        copy = Window(file, 0, window.length)
    finally:
        os.close(file)
    for start, end in ((0, place.ring.end), (place.room.start, place.room.end)):
        copy.write(start, window.view(start, end - start))
    return copy
