# SPDX-License-Identifier: MIT
"""Feature bits of the vhost-user protocol, and those a driver must never see."""

from __future__ import annotations

from enum import IntFlag

from ivshmem_virtio.transport.features import Feature


class VhostFeature(IntFlag):
    """Bits that are the daemon's and its front-end's affair, or that only legacy devices have."""

    NOTIFY_ON_EMPTY = 1 << 24
    LOG_ALL = 1 << 26
    PROTOCOL_FEATURES = 1 << 30


class ProtocolFeature(IntFlag):
    """Protocol features (vhost-user, "Protocol features") that this front-end knows."""

    MQ = 1 << 0
    REPLY_ACK = 1 << 3
    CONFIG = 1 << 9


# A plain number: the complement of a flag would hold no bit that its class does not name.
HIDDEN = int(
    VhostFeature.NOTIFY_ON_EMPTY
    | VhostFeature.LOG_ALL
    | VhostFeature.PROTOCOL_FEATURES
    | Feature.ACCESS_PLATFORM
    | Feature.ORDER_PLATFORM
)
"""Never part of what a driver negotiates with a daemon.

A driver of ours accepts ACCESS_PLATFORM from us, because its addresses are window offsets; to a daemon that was given
the window as its guest's memory from address 0 on, the same offsets are plain guest-physical addresses.
"""

USED_PROTOCOL_FEATURES = ProtocolFeature.MQ | ProtocolFeature.REPLY_ACK | ProtocolFeature.CONFIG
