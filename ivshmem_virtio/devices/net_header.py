# SPDX-License-Identifier: MIT
"""Feature bits and the packet header of the network device (virtio 1.4, 5.1.3 and 5.1.6)."""

from __future__ import annotations

import struct
from enum import IntFlag
from typing import NamedTuple


class Feature(IntFlag):
    """Feature bits this device knows."""

    CSUM = 1 << 0
    GUEST_CSUM = 1 << 1
    MTU = 1 << 3
    MAC = 1 << 5
    GUEST_TSO4 = 1 << 7
    GUEST_TSO6 = 1 << 8
    GUEST_ECN = 1 << 9
    HOST_TSO4 = 1 << 11
    HOST_TSO6 = 1 << 12
    HOST_ECN = 1 << 13
    MRG_RXBUF = 1 << 15
    STATUS = 1 << 16
    CTRL_VQ = 1 << 17
    MQ = 1 << 22


HOST_OFFLOADS = int(Feature.CSUM | Feature.HOST_TSO4 | Feature.HOST_TSO6 | Feature.HOST_ECN)
GUEST_OFFLOADS = int(Feature.GUEST_CSUM | Feature.GUEST_TSO4 | Feature.GUEST_TSO6 | Feature.GUEST_ECN)

HEADER_SIZE = 12
ETHERNET_HEADER = 14
LONGEST_FRAME = 65535 + ETHERNET_HEADER + 4
"""Bytes of the longest frame anybody may send: an IP packet of 64 KiB, Ethernet header, one VLAN tag."""

F_NEEDS_CSUM = 1
GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
GSO_ECN = 0x80

_LAYOUT = struct.Struct("<BBHHHHH")
_NUM_BUFFERS = struct.Struct("<H")
_HOST_FEATURE = {GSO_TCPV4: Feature.HOST_TSO4, GSO_TCPV6: Feature.HOST_TSO6}
_GUEST_FEATURE = {GSO_TCPV4: Feature.GUEST_TSO4, GSO_TCPV6: Feature.GUEST_TSO6}


class NetHeader(NamedTuple):
    """``struct virtio_net_hdr`` without the buffer count, its numbers checked against the frame."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    @property
    def gso(self) -> int:
        """Segmentation type without the ECN bit."""
        return self.gso_type & ~GSO_ECN

    @property
    def needs_checksum(self) -> bool:
        """Whether the checksum at ``csum_start + csum_offset`` is still to be completed."""
        return bool(self.flags & F_NEEDS_CSUM)

    def pack(self) -> bytes:
        """As it stands in a buffer, for one buffer."""
        return _LAYOUT.pack(*self, 1)


_PLAIN = NetHeader()
_NOTHING_TO_DO = bytes(HEADER_SIZE - 2)
PLAIN_HEADER = _PLAIN.pack()
"""Header of a frame with nothing left to do."""


def with_buffers(header: bytes, count: int) -> bytes:
    """``header`` for a frame spread over ``count`` buffers (5.1.6.4)."""
    return header[: HEADER_SIZE - 2] + _NUM_BUFFERS.pack(count)


def check_transmitted(raw: bytes, length: int, accepted: int) -> NetHeader | None:
    """The header a driver put before a frame of ``length`` bytes; None where it makes no sense (5.1.6.2.1).

    Only what the driver accepted (``accepted``, feature bits) may be asked for. Unknown flags are ignored (5.1.6.2.2).
    """
    if len(raw) != HEADER_SIZE:
        return None
    if raw.startswith(_NOTHING_TO_DO):
        return _PLAIN
    flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, _ = _LAYOUT.unpack(raw)
    flags &= F_NEEDS_CSUM
    if flags and not (accepted & Feature.CSUM and csum_start + csum_offset + 2 <= length):
        return None
    if gso_type == GSO_NONE:
        return NetHeader(flags, GSO_NONE, 0, 0, csum_start if flags else 0, csum_offset if flags else 0)
    feature = _HOST_FEATURE.get(gso_type & ~GSO_ECN)
    if feature is None or not accepted & feature or not flags or not gso_size or hdr_len > length:
        return None
    if gso_type & GSO_ECN and not accepted & Feature.HOST_ECN:
        return None
    return NetHeader(flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)


def needed_to_receive(header: NetHeader) -> int:
    """Feature bits a driver must have accepted to be given a frame with this header (5.1.6.4.1)."""
    if header is _PLAIN:
        return 0
    needed = int(Feature.GUEST_CSUM) if header.needs_checksum else 0
    if header.gso != GSO_NONE:
        needed |= _GUEST_FEATURE[header.gso]
    if header.gso_type & GSO_ECN:
        needed |= Feature.GUEST_ECN
    return needed
