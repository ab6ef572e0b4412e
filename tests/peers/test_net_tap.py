# SPDX-License-Identifier: MIT
"""The tap way out against a real interface of the kernel, in a network namespace of its own."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from ivshmem_virtio.devices.net_header import Feature
from ivshmem_virtio.devices.net_tap import open_tap
from ivshmem_virtio.devices.net_via import ViaError
from tests.devices.net_frames import ARP, GUEST, IPV4, arp_request, ethernet, read_tcp, tcp4, udp, word_sum
from tests.devices.net_guest import WINDOW, NetGuest
from tests.peers.private_network import ip
from tests.peers.tap_interface import GUEST_IP, HOST_IP, is_udp, mac_of_tap, queueing, tap_net
from tests.peers.tap_interface import tap as tap

NEEDS_CSUM = 1


def tap_guest(features: int | None = None) -> NetGuest:
    guest = NetGuest(tap_net(), window=WINDOW, features=features)
    guest.run_until(lambda: not queueing().startswith("noop"))
    return guest


def test_the_kernel_answers_an_arp_request(tap: str) -> None:
    with tap_guest() as guest:
        assert guest.link_is_up
        guest.give_buffers(32)
        guest.send(arp_request(GUEST, GUEST_IP, HOST_IP))
        _, reply = guest.wait_for_frame(lambda frame: frame[12:14] == struct.pack(">H", ARP))
        assert reply[:6] == GUEST
        assert reply[28:32] == socket.inet_aton(HOST_IP)


def test_a_checksum_is_left_to_a_driver_that_accepted_it_and_to_no_other(tap: str) -> None:
    data = b"from the host" * 10
    for features in (None, int(Feature.MAC | Feature.MRG_RXBUF)):
        with tap_guest(features) as guest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            guest.give_buffers(32)
            sender.sendto(data, (GUEST_IP, 9))
            header, frame = guest.wait_for_frame(is_udp)
            assert frame[42:] == data
            pseudo = frame[26:34] + struct.pack(">BBH", 0, 17, len(frame) - 34)
            if features is None:
                assert header[0] & NEEDS_CSUM
                assert struct.unpack_from("<HH", header, 6) == (34, 6)
                assert frame[40:42] == struct.pack(">H", word_sum(pseudo))
            else:
                assert header[:10] == bytes(10)
                assert word_sum(pseudo + frame[34:]) == 0xFFFF


def test_the_kernel_completes_a_checksum_the_guest_left_open(tap: str) -> None:
    with tap_guest() as guest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST_IP, 0))
        receiver.settimeout(60)
        packet = udp(GUEST_IP, HOST_IP, (5, receiver.getsockname()[1]), b"from the guest", partial=True)
        frame = ethernet(mac_of_tap(), GUEST, IPV4, packet)
        guest.send(frame, struct.pack("<BBHHHHH", NEEDS_CSUM, 0, 0, 0, 34, 6, 0))
        assert receiver.recv(100) == b"from the guest"


def test_a_frame_to_be_segmented_goes_through_whole(tap: str) -> None:
    data = bytes(range(256)) * 40
    with tap_guest() as guest, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(IPV4)) as sniffer:
        sniffer.bind(("tap0", IPV4))
        sniffer.settimeout(60)
        packet = tcp4(GUEST_IP, HOST_IP, (5, 6), 1, 16, data, partial=True)
        frame = ethernet(mac_of_tap(), GUEST, IPV4, packet)
        guest.send(frame, struct.pack("<BBHHHHH", NEEDS_CSUM, 1, 54, 1448, 34, 16, 0))
        seen = sniffer.recv(70000)
        while seen[6:12] != GUEST:
            seen = sniffer.recv(70000)
        assert seen == frame
        assert guest.device.features & Feature.HOST_TSO4


def test_a_host_stream_arrives_in_large_frames_only_where_accepted(tap: str) -> None:
    """The guest side of a TCP connection by hand: the kernel sends its data as one frame, or cut to size."""
    data = bytes(range(256)) * 12
    for features, whole in ((None, True), (int(Feature.MAC | Feature.MRG_RXBUF), False)):
        with tap_guest(features) as guest, socket.create_server((HOST_IP, 0)) as server:
            guest.give_buffers(60)
            port = server.getsockname()[1]
            mac = mac_of_tap()
            guest.send(ethernet(mac, GUEST, IPV4, tcp4(GUEST_IP, HOST_IP, (777, port), 100, 2)))
            _, answer = guest.wait_for_frame(lambda f: f[12:14] == b"\x08\x00" and f[23] == 6 and f[47] == 0x12)
            (theirs,) = struct.unpack_from(">I", answer, 38)
            ack = bytearray(tcp4(GUEST_IP, HOST_IP, (777, port), 101, 16))
            struct.pack_into(">I", ack, 28, theirs + 1)
            struct.pack_into(">H", ack, 36, 0)
            pseudo = bytes(ack[12:20]) + struct.pack(">BBH", 0, 6, 20)
            struct.pack_into(">H", ack, 36, ~word_sum(pseudo + bytes(ack[20:])) & 0xFFFF)
            guest.send(ethernet(mac, GUEST, IPV4, bytes(ack)))
            server.settimeout(60)
            connection, _ = server.accept()
            with connection:
                connection.sendall(data)
                header, first = guest.wait_for_frame(lambda f: f[12:14] == b"\x08\x00" and f[23] == 6 and len(f) > 100)
            if whole:
                assert header[1] == 1
                assert len(first) > 1514
            else:
                assert header[:10] == bytes(10)
                assert len(first) <= 1514
                assert data.startswith(read_tcp(first).data)


def test_frames_wait_in_the_interface_while_the_guest_has_no_buffers(tap: str) -> None:
    with tap_guest() as guest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(20):
            sender.sendto(bytes([number]) * 20, (GUEST_IP, 9))
        guest.run_until(lambda: guest.counters.receive_waits)
        got: list[int] = []
        while len(got) < 20:
            guest.give_buffers(2)
            guest.run_for(0.01)
            got += [frame[42] for _, frame in guest.received() if is_udp(frame)]
        assert got == list(range(20))


def test_an_interface_that_goes_and_comes_back_takes_the_link_along(tap: str) -> None:
    with tap_guest() as guest:
        ip("link del tap0")
        guest.run_until(lambda: not guest.link_is_up)
        assert guest.driver.config_changes == 1
        ip("tuntap add dev tap0 mode tap")
        guest.run_until(lambda: guest.link_is_up)
        assert guest.driver.config_changes == 2


def test_an_interface_that_goes_while_a_frame_waits_for_a_buffer_takes_the_link_along(tap: str) -> None:
    with tap_guest() as guest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"nobody takes it", (GUEST_IP, 9))
        guest.run_until(lambda: guest.counters.receive_waits)
        ip("link del tap0")
        guest.run_until(lambda: not guest.link_is_up)


def test_frames_into_an_interface_that_is_down_are_counted(tap: str) -> None:
    with tap_guest() as guest:
        ip("link set tap0 down")
        guest.send(arp_request(GUEST, GUEST_IP, HOST_IP))
        assert guest.counters.transmit_link_down == 1


def test_each_reason_to_fail_is_named(tap: str) -> None:
    first = open_tap("tap0")
    try:
        with pytest.raises(ViaError, match="in use by another process"):
            open_tap("tap0")
    finally:
        os.close(first)
    with pytest.raises(ViaError, match="no such interface; create it"):
        open_tap("tap9")
    with pytest.raises(ViaError, match="not a tap interface"):
        open_tap("lo")
    with pytest.raises(ViaError, match="1 to 15 bytes"):
        open_tap("a" * 16)
    ip("tuntap add dev many mode tap multi_queue")
    with pytest.raises(ViaError, match="single queue"):
        open_tap("many")
