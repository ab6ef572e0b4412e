# SPDX-License-Identifier: MIT
"""Words for numbers: device ids, feature bits, status bits, header fields, queues (virtio 1.4)."""

from __future__ import annotations

from enum import IntFlag

from ivshmem_virtio.link.layout import Header, State
from ivshmem_virtio.transport.features import Feature, Status

NET, BLOCK, CONSOLE, ENTROPY = 1, 2, 3, 4

DEVICES = {
    NET: "net",
    BLOCK: "blk",
    CONSOLE: "console",
    ENTROPY: "rng",
    5: "balloon",
    8: "scsi",
    9: "9p",
    16: "gpu",
    18: "input",
    19: "vsock",
    20: "crypto",
    24: "mem",
    25: "sound",
    26: "fs",
    27: "pmem",
    29: "hwsim",
    32: "scmi",
    34: "i2c",
    41: "gpio",
}
TRANSPORT_FEATURES = {
    **{int(bit).bit_length() - 1: str(bit.name) for bit in Feature},
    24: "NOTIFY_ON_EMPTY",
    27: "ANY_LAYOUT",
    37: "SR_IOV",
    38: "NOTIFICATION_DATA",
    39: "NOTIF_CONFIG_DATA",
    41: "ADMIN_VQ",
}
DEVICE_FEATURES: dict[int, dict[int, str]] = {
    NET: {
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
        20: "CTRL_RX_EXTRA",
        21: "GUEST_ANNOUNCE",
        22: "MQ",
        23: "CTRL_MAC_ADDR",
        50: "DEVICE_STATS",
        51: "HASH_TUNNEL",
        52: "VQ_NOTF_COAL",
        53: "NOTF_COAL",
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
    BLOCK: {
        0: "BARRIER",
        1: "SIZE_MAX",
        2: "SEG_MAX",
        4: "GEOMETRY",
        5: "RO",
        6: "BLK_SIZE",
        7: "SCSI",
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
    CONSOLE: {0: "SIZE", 1: "MULTIPORT", 2: "EMERG_WRITE"},
}


def device_name(device_id: int) -> str:
    return DEVICES.get(device_id, f"device {device_id}")


def feature_names(device_id: int, features: int) -> list[str]:
    """The names of all bits set, lowest first; ``bit N`` where a bit has none."""
    known = {**TRANSPORT_FEATURES, **DEVICE_FEATURES.get(device_id, {})}
    return [known.get(bit, f"bit {bit}") for bit in range(features.bit_length()) if features >> bit & 1]


def flag_names(flags: type[IntFlag], value: int) -> list[str]:
    """The names of all bits set, and what is left over as a number."""
    found = [str(flag.name) for flag in flags if value & flag]
    rest = value & ~sum(flags)
    return [*found, f"{rest:#x}"] if rest else found


def status_names(status: int) -> list[str]:
    return flag_names(Status, status)


def state_name(state: int) -> str:
    """A State Table entry in a word; a side can write anything into its own."""
    return State(state).name.lower() if state in list(State) else f"invalid ({state})"


def field_name(offset: int) -> str:
    """The header field a transaction names."""
    if offset >= Header.CONFIG:
        return f"config+{offset - Header.CONFIG:#x}"
    return Header(offset).name.lower() if offset in list(Header) else f"offset {offset:#x}"


def queue_name(device_id: int, index: int) -> str:
    """What a queue is for, as the chapter of its device calls it."""
    if device_id == NET:
        return "receive" if index % 2 == 0 else "transmit"
    if device_id == CONSOLE:
        way = "receive" if index % 2 == 0 else "transmit"
        if index in (2, 3):
            return f"control {way}"
        return way if index < 2 else f"port {index // 2 - 1} {way}"
    return "request"


def holds_empty_buffers(device_id: int, index: int) -> bool:
    """Whether buffers wait in this queue for the world outside, so that nobody owes an answer for them."""
    return device_id in (NET, CONSOLE) and index % 2 == 0
