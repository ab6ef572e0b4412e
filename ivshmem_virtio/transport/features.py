# SPDX-License-Identifier: MIT
"""Feature bits and status bits that belong to the transport and the rings (virtio 1.4, 2.1, 2.2 and 6)."""

from __future__ import annotations

from enum import IntFlag


class Status(IntFlag):
    """Device status field (virtio 1.4, 2.1)."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    SUSPEND = 16
    NEEDS_RESET = 64
    FAILED = 128


class Feature(IntFlag):
    """Device-independent feature bits (virtio 1.4, 6)."""

    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33
    RING_PACKED = 1 << 34
    IN_ORDER = 1 << 35
    ORDER_PLATFORM = 1 << 36
    RING_RESET = 1 << 40


OFFERED = (
    Feature.INDIRECT_DESC
    | Feature.EVENT_IDX
    | Feature.VERSION_1
    | Feature.ACCESS_PLATFORM
    | Feature.ORDER_PLATFORM
    | Feature.RING_RESET
)
"""What every device of ours offers beside its own bits."""

REQUIRED = Feature.VERSION_1 | Feature.ACCESS_PLATFORM
"""Without these the driver's addresses would not be window offsets, so FEATURES_OK is refused."""
