# SPDX-License-Identifier: MIT
"""Frames as guests and hosts send them, made and read independently of the code under test."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

BROADCAST = b"\xff" * 6
GUEST = bytes.fromhex("525400aabb01")
OTHER = bytes.fromhex("525400aabb02")
IPV4 = 0x0800
IPV6 = 0x86DD
ARP = 0x0806
UDP = 17
TCP = 6


def word_sum(data: bytes) -> int:
    """RFC 1071, word by word as the RFC has it; 0xffff when a checksum inside ``data`` is right."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for (word,) in struct.iter_unpack(">H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ethernet(destination: bytes, source: bytes, kind: int, payload: bytes) -> bytes:
    return destination + source + struct.pack(">H", kind) + payload


def arp_request(sender: bytes, sender_ip: str, target_ip: str) -> bytes:
    body = struct.pack(">HHBBH", 1, IPV4, 6, 4, 1)
    body += sender + socket.inet_aton(sender_ip) + bytes(6) + socket.inet_aton(target_ip)
    return ethernet(BROADCAST, sender, ARP, body)


def pseudo4(source: str, destination: str, protocol: int, length: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack(">BBH", 0, protocol, length)


def ipv4(source: str, destination: str, protocol: int, payload: bytes, identification: int = 7) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), identification, 0, 64, protocol, 0) + addresses
    return head[:10] + struct.pack(">H", ~word_sum(head) & 0xFFFF) + head[12:] + payload


def udp(source: str, destination: str, ports: tuple[int, int], data: bytes, *, partial: bool = False) -> bytes:
    """An IPv4 packet; ``partial``: the checksum field holds only the sum of the pseudo header, as for an offload."""
    length = 8 + len(data)
    pseudo = pseudo4(source, destination, UDP, length)
    head = struct.pack(">HHHH", *ports, length, 0)
    value = word_sum(pseudo) if partial else ~word_sum(pseudo + head + data) & 0xFFFF
    return ipv4(source, destination, UDP, head[:6] + struct.pack(">H", value) + data)


def tcp_segment(
    pseudo: bytes, ports: tuple[int, int], sequence: int, flags: int, data: bytes, *, partial: bool = False
) -> bytes:
    head = struct.pack(">HHIIBBHHH", *ports, sequence, 0, 5 << 4, flags, 65535, 0, 0)
    value = word_sum(pseudo) if partial else ~word_sum(pseudo + head + data) & 0xFFFF
    return head[:16] + struct.pack(">H", value) + head[18:] + data


def tcp4(
    source: str,
    destination: str,
    ports: tuple[int, int],
    sequence: int,
    flags: int,
    data: bytes = b"",
    *,
    partial: bool = False,
) -> bytes:
    pseudo = pseudo4(source, destination, TCP, 20 + len(data))
    return ipv4(source, destination, TCP, tcp_segment(pseudo, ports, sequence, flags, data, partial=partial))


def tcp6(source: str, destination: str, ports: tuple[int, int], sequence: int, flags: int, data: bytes) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    pseudo = addresses + struct.pack(">II", 20 + len(data), TCP)
    segment = tcp_segment(pseudo, ports, sequence, flags, data, partial=True)
    return struct.pack(">IHBB", 6 << 28, len(segment), TCP, 64) + addresses + segment


@dataclass
class TcpFrame:
    """A TCP frame taken apart, its checksums verified."""

    sequence: int
    flags: int
    data: bytes
    identification: int


def read_tcp(frame: bytes) -> TcpFrame:
    """Take apart a frame without VLAN tag; fails where a length or checksum is wrong."""
    (kind,) = struct.unpack_from(">H", frame, 12)
    packet = frame[14:]
    identification = 0
    if kind == IPV4:
        assert word_sum(packet[:20]) == 0xFFFF, "IPv4 header checksum"
        assert struct.unpack_from(">H", packet, 2) == (len(packet),)
        (identification,) = struct.unpack_from(">H", packet, 4)
        segment = packet[20:]
        pseudo = packet[12:20] + struct.pack(">BBH", 0, TCP, len(segment))
    else:
        assert kind == IPV6
        segment = packet[40:]
        assert struct.unpack_from(">H", packet, 4) == (len(segment),)
        pseudo = packet[8:40] + struct.pack(">II", len(segment), TCP)
    assert word_sum(pseudo + segment) == 0xFFFF, "TCP checksum"
    (sequence,) = struct.unpack_from(">I", segment, 4)
    return TcpFrame(sequence, segment[13], segment[(segment[12] >> 4) * 4 :], identification)
