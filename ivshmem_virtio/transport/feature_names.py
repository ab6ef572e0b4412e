# SPDX-License-Identifier: MIT
"""Words for device types and feature bits (virtio 1.4, 5 and 6)."""

from __future__ import annotations

from collections.abc import Mapping

DEVICE_TYPES: Mapping[int, str] = {
    1: "net",
    2: "blk",
    3: "console",
    4: "rng",
    5: "balloon",
    8: "scsi",
    9: "9p",
    16: "gpu",
    18: "input",
    19: "vsock",
    20: "crypto",
    25: "sound",
    26: "fs",
    34: "i2c",
    41: "gpio",
}

TRANSPORT_FEATURES: Mapping[int, str] = {
    24: "NOTIFY_ON_EMPTY",
    27: "ANY_LAYOUT",
    28: "INDIRECT_DESC",
    29: "EVENT_IDX",
    32: "VERSION_1",
    33: "ACCESS_PLATFORM",
    34: "RING_PACKED",
    35: "IN_ORDER",
    36: "ORDER_PLATFORM",
    37: "SR_IOV",
    38: "NOTIFICATION_DATA",
    39: "NOTIF_CONFIG_DATA",
    40: "RING_RESET",
    41: "ADMIN_VQ",
}

DEVICE_FEATURES: Mapping[int, Mapping[int, str]] = {
    1: {
        0: "CSUM",
        1: "GUEST_CSUM",
        2: "CTRL_GUEST_OFFLOADS",
        3: "MTU",
        5: "MAC",
        7: "GUEST_TSO4",
        8: "GUEST_TSO6",
        9: "GUEST_ECN",
        10: "GUEST_UFO",
        11: "HOST_TSO4",
        12: "HOST_TSO6",
        13: "HOST_ECN",
        14: "HOST_UFO",
        15: "MRG_RXBUF",
        16: "STATUS",
        17: "CTRL_VQ",
        18: "CTRL_RX",
        19: "CTRL_VLAN",
        21: "GUEST_ANNOUNCE",
        22: "MQ",
        23: "CTRL_MAC_ADDR",
        54: "GUEST_USO4",
        55: "GUEST_USO6",
        56: "HOST_USO",
        57: "HASH_REPORT",
        59: "GUEST_HDRLEN",
        60: "RSS",
        61: "RSC_EXT",
        62: "STANDBY",
        63: "SPEED_DUPLEX",
    },
    2: {
        1: "SIZE_MAX",
        2: "SEG_MAX",
        4: "GEOMETRY",
        5: "RO",
        6: "BLK_SIZE",
        9: "FLUSH",
        10: "TOPOLOGY",
        11: "CONFIG_WCE",
        12: "MQ",
        13: "DISCARD",
        14: "WRITE_ZEROES",
        15: "LIFETIME",
        16: "SECURE_ERASE",
        17: "ZONED",
    },
    3: {0: "SIZE", 1: "MULTIPORT", 2: "EMERG_WRITE"},
}


def device_type(device_id: int) -> str:
    """The word for a virtio device id, ``type 99`` for one without."""
    return DEVICE_TYPES.get(device_id, f"type {device_id}")


def feature_names(device_id: int, features: int) -> list[str]:
    """The names of all set bits, lowest first; ``bit 21`` for one without."""
    known = {**DEVICE_FEATURES.get(device_id, {}), **TRANSPORT_FEATURES}
    return [known.get(bit, f"bit {bit}") for bit in range(64) if features >> bit & 1]
