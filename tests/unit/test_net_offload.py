# SPDX-License-Identifier: MIT
"""Checksum and segmentation in software, checked against a word-by-word checksum and by putting segments together."""

from __future__ import annotations

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from ivshmem_virtio import core
from ivshmem_virtio.devices.net_header import GSO_ECN, GSO_TCPV4, GSO_TCPV6, NetHeader
from tests.devices import net_frames, offload_model
from tests.devices.net_frames import GUEST, IPV4, IPV6, OTHER, ethernet, read_tcp, tcp4, tcp6, udp, word_sum
from tests.devices.offload_model import MOST_SEGMENTS, internet_sum

A, B = "10.1.1.1", "10.1.1.2"
FIN, PSH, ACK, CWR = 1, 8, 16, 128


def plain_frames(frame: bytes, header: NetHeader) -> list[bytes]:
    return core.plain_frames(frame, *header)


@given(st.binary(max_size=3000))
def test_the_sum_is_that_of_rfc_1071(data: bytes) -> None:
    assert (internet_sum(data) - word_sum(data)) % 0xFFFF == 0


@given(st.binary(max_size=200))
def test_a_partial_udp_checksum_becomes_the_full_one(data: bytes) -> None:
    partial = ethernet(OTHER, GUEST, IPV4, udp(A, B, (1000, 53), data, partial=True))
    full = ethernet(OTHER, GUEST, IPV4, udp(A, B, (1000, 53), data))
    (done,) = plain_frames(partial, NetHeader(flags=1, csum_start=34, csum_offset=6))
    wanted = full if full[40:42] != b"\0\0" else full[:40] + b"\xff\xff" + full[42:]
    assert done == wanted


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    for value in range(0x10000):
        frame = ethernet(OTHER, GUEST, IPV4, udp(A, B, (1000, 53), struct.pack(">H", value), partial=True))
        (done,) = plain_frames(frame, NetHeader(flags=1, csum_start=34, csum_offset=6))
        if done[40:42] == b"\xff\xff":
            return
        assert done[40:42] != b"\0\0"
    raise AssertionError("no data makes the sum zero")


def segments(frame: bytes, gso: int, size: int, start: int) -> list[bytes]:
    return plain_frames(frame, NetHeader(1, gso, 0, size, start, 16))


@given(st.binary(min_size=1, max_size=5000), st.integers(100, 1500), st.integers(0, 0xFFFFFFFF))
def test_ipv4_segments_together_are_the_stream(data: bytes, size: int, sequence: int) -> None:
    packet = tcp4(A, B, (1, 2), sequence, FIN | PSH | ACK | CWR, data, partial=True)
    parts = [read_tcp(part) for part in segments(ethernet(OTHER, GUEST, IPV4, packet), GSO_TCPV4 | GSO_ECN, size, 34)]
    assert b"".join(part.data for part in parts) == data
    assert all(len(part.data) == size for part in parts[:-1])
    assert [part.sequence for part in parts] == [(sequence + i * size) & 0xFFFFFFFF for i in range(len(parts))]
    assert [part.identification for part in parts] == [7 + i for i in range(len(parts))]
    assert [bool(part.flags & FIN) for part in parts] == [i == len(parts) - 1 for i in range(len(parts))]
    assert [bool(part.flags & PSH) for part in parts] == [i == len(parts) - 1 for i in range(len(parts))]
    assert [bool(part.flags & CWR) for part in parts] == [i == 0 for i in range(len(parts))]
    assert all(part.flags & ACK for part in parts)


def test_ipv6_segments_together_are_the_stream() -> None:
    data = bytes(range(256)) * 12
    frame = ethernet(OTHER, GUEST, IPV6, tcp6("fd00::1", "fd00::2", (1, 2), 5, ACK | PSH, data))
    parts = [read_tcp(part) for part in segments(frame, GSO_TCPV6, 1000, 54)]
    assert b"".join(part.data for part in parts) == data
    assert [len(part.data) for part in parts] == [1000, 1000, 1000, 72]


def test_a_vlan_tag_stays_on_every_segment() -> None:
    packet = tcp4(A, B, (1, 2), 5, ACK, b"x" * 300, partial=True)
    tagged = ethernet(OTHER, GUEST, 0x8100, struct.pack(">HH", 42, IPV4) + packet)
    parts = segments(tagged, GSO_TCPV4, 100, 38)
    assert len(parts) == 3
    for part in parts:
        assert part[12:18] == struct.pack(">HHH", 0x8100, 42, IPV4)
        read_tcp(part[:12] + part[16:])


def test_a_header_that_contradicts_the_frame_yields_nothing() -> None:
    good = ethernet(OTHER, GUEST, IPV4, tcp4(A, B, (1, 2), 5, ACK, b"x" * 300, partial=True))
    assert len(segments(good, GSO_TCPV4, 100, 34)) == 3
    assert segments(good, GSO_TCPV6, 100, 34) == []
    assert segments(good, GSO_TCPV4, 100, 20) == []
    assert segments(good, GSO_TCPV4, 100, len(good) - 10) == []
    assert segments(good, GSO_TCPV4, 1, 34) == [] or MOST_SEGMENTS >= 300
    assert segments(good[:46] + b"\x10" + good[47:], GSO_TCPV4, 100, 34) == []
    assert segments(good[:46] + b"\xf0" + good[47:60], GSO_TCPV4, 100, 34) == []
    assert plain_frames(good, NetHeader(1, GSO_TCPV4, 0, 100, 34, 6)) == []


@given(st.binary(min_size=14, max_size=400), st.integers(0, 400), st.integers(1, 2000), st.sampled_from([1, 4]))
def test_no_frame_makes_it_fail(frame: bytes, start: int, size: int, gso: int) -> None:
    if start + 18 <= len(frame):
        for kind in (frame[12:14], b"\x08\x00", b"\x86\xdd"):
            altered = frame[:12] + kind + frame[14:]
            assert len(segments(altered, gso, size, start)) <= MOST_SEGMENTS


def test_the_frame_builder_itself_makes_right_checksums() -> None:
    whole = ethernet(OTHER, GUEST, IPV4, tcp4(A, B, (1, 2), 5, ACK, b"abc"))
    assert net_frames.read_tcp(whole).data == b"abc"


@given(
    st.binary(max_size=600),
    st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00\0\1\x08\x00", b"\x88\xa8\0\1\x86\xdd"]),
    st.integers(0, 12),
    st.tuples(st.sampled_from([0, 1, 4, 0x81, 0x84]), st.integers(1, 700), st.integers(14, 90), st.integers(0, 20)),
)
@example(b"\xff" * 101, b"\x08\x00", 5, (0, 1, 34, 6))
def test_compiled_code_and_plain_python_agree(
    data: bytes, kind: bytes, words: int, asked: tuple[int, int, int, int]
) -> None:
    gso, size, start, offset = asked
    if gso:
        offset = 16
    frame = bytearray(bytes(12) + kind + data).ljust(start + offset + 2, b"\x55")
    if gso and start + 13 < len(frame):
        frame[start + 12] = words << 4
    header = NetHeader(1, gso, 0, size if gso else 0, start, offset)
    assert plain_frames(bytes(frame), header) == offload_model.plain_frames(bytes(frame), header)
