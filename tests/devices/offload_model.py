# SPDX-License-Identifier: MIT
"""Checksums and TCP segmentation once more, as plainly as possible, for the compiled code to be compared with."""

from __future__ import annotations

import struct

from ivshmem_virtio.devices.net_header import ETHERNET_HEADER, GSO_NONE, GSO_TCPV4, NetHeader

MOST_SEGMENTS = 256
"""A segment size so small that a frame falls into more pieces than this is an attack, not TCP."""

_IPV4 = 0x0800
_IPV6 = 0x86DD
_VLAN = (0x8100, 0x88A8)
_TCP = 6
_TCP_CHECKSUM = 16
_UDP_CHECKSUM = 6
_FIN_PSH = 0x09
_CWR = 0x80


def plain_frames(frame: bytes, header: NetHeader) -> list[bytes]:
    """The frames with nothing left to do that ``frame`` stands for; none where it contradicts its header.

    ``header`` has been checked against the length of ``frame``.
    """
    if header.gso != GSO_NONE:
        return _segments(frame, header)
    if header.needs_checksum:
        return [_completed(frame, header.csum_start, header.csum_offset)]
    return [frame]


def internet_sum(data: bytes) -> int:
    """One's complement sum of big-endian 16-bit words (RFC 1071); one division does it, as 65536 is 1 modulo 65535."""
    return int.from_bytes(data + b"\0" * (len(data) & 1), "big") % 0xFFFF


def _checksum(total: int) -> int:
    return -total % 0xFFFF


def _completed(frame: bytes, start: int, offset: int) -> bytes:
    value = _checksum(internet_sum(frame[start:]))
    if value == 0 and offset == _UDP_CHECKSUM:
        value = 0xFFFF  # 0 would mean "no checksum" (RFC 768)
    place = start + offset
    return frame[:place] + struct.pack(">H", value) + frame[place + 2 :]


def _network_header(frame: bytes) -> tuple[int, int]:
    """Ethertype, and where its header starts."""
    place = ETHERNET_HEADER
    (kind,) = struct.unpack_from(">H", frame, place - 2)
    if kind in _VLAN and len(frame) >= place + 4:
        place += 4
        (kind,) = struct.unpack_from(">H", frame, place - 2)
    return kind, place


def _segments(frame: bytes, header: NetHeader) -> list[bytes]:
    kind, network = _network_header(frame)
    tcp = header.csum_start
    four = header.gso == GSO_TCPV4
    if header.csum_offset != _TCP_CHECKSUM or kind != (_IPV4 if four else _IPV6):
        return []
    if tcp < network + (20 if four else 40) or tcp + 20 > len(frame):
        return []
    payload = tcp + (frame[tcp + 12] >> 4) * 4
    if payload < tcp + 20 or payload > len(frame):
        return []
    count = -(-(len(frame) - payload) // header.gso_size)
    if count > MOST_SEGMENTS:
        return []
    return [
        _segment(frame, index, max(count, 1), network, tcp, payload, header.gso_size, four)
        for index in range(max(count, 1))
    ]


def _segment(
    frame: bytes, index: int, count: int, network: int, tcp: int, payload: int, size: int, four: bool
) -> bytes:
    data = frame[payload + index * size : payload + (index + 1) * size]
    head = bytearray(frame[:payload])
    (sequence,) = struct.unpack_from(">I", head, tcp + 4)
    struct.pack_into(">I", head, tcp + 4, (sequence + index * size) & 0xFFFFFFFF)
    if index < count - 1:
        head[tcp + 13] &= ~_FIN_PSH & 0xFF
    if index:
        head[tcp + 13] &= ~_CWR & 0xFF
    length = payload - tcp + len(data)
    if four:
        _renew_ipv4(head, network, tcp, length, index)
        addresses = head[network + 12 : network + 20]
    else:
        struct.pack_into(">H", head, network + 4, (tcp - network - 40 + length) & 0xFFFF)
        addresses = head[network + 8 : network + 40]
    struct.pack_into(">H", head, tcp + _TCP_CHECKSUM, 0)
    pseudo = bytes(addresses) + struct.pack(">II", length, _TCP)
    struct.pack_into(">H", head, tcp + _TCP_CHECKSUM, _checksum(internet_sum(pseudo + bytes(head[tcp:]) + data)))
    return bytes(head) + data


def _renew_ipv4(head: bytearray, network: int, tcp: int, length: int, index: int) -> None:
    (identification,) = struct.unpack_from(">H", head, network + 4)
    struct.pack_into(">HH", head, network + 2, (tcp - network + length) & 0xFFFF, (identification + index) & 0xFFFF)
    struct.pack_into(">H", head, network + 10, 0)
    struct.pack_into(">H", head, network + 10, _checksum(internet_sum(bytes(head[network:tcp]))))
