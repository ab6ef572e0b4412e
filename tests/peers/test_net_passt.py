# SPDX-License-Identifier: MIT
"""A guest's frames through the real passt: ARP, DHCP, and a TCP connection to a server on the host's loopback."""

from __future__ import annotations

import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.vm.passt import Passt, PasstError
from tests.devices.net_frames import (
    ARP,
    BROADCAST,
    GUEST,
    IPV4,
    UDP,
    arp_request,
    ethernet,
    ipv4,
    read_tcp,
    tcp4,
)
from tests.devices.net_guest import WINDOW, NetGuest, stream_net

ADDRESS, GATEWAY = "10.0.2.15", "10.0.2.2"


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[NetGuest]:
    """A guest behind a running passt."""
    if shutil.which("passt") is None:
        pytest.skip("needs the program passt: install the package passt")
    passt = Passt(address=ADDRESS, gateway=GATEWAY)
    try:
        passt.start(tmp_path / "passt.sock")
    except PasstError as error:
        if "routable" not in str(error):
            raise
        pytest.skip(f"needs a network interface with a default route: {error}")
    with passt, NetGuest(stream_net(tmp_path / "passt.sock"), window=WINDOW) as guest:
        guest.run_until(lambda: guest.link_is_up)
        guest.give_buffers(40)
        yield guest


def gateway_mac(guest: NetGuest) -> bytes:
    guest.send(arp_request(GUEST, ADDRESS, GATEWAY))
    _, reply = guest.wait_for_frame(lambda frame: frame[12:14] == struct.pack(">H", ARP))
    assert reply[:6] == GUEST
    assert reply[28:32] == socket.inet_aton(GATEWAY)
    return reply[22:28]


def test_arp_for_the_gateway_is_answered(guest: NetGuest) -> None:
    assert not gateway_mac(guest)[0] & 1


def test_dhcp_offers_the_configured_address(guest: NetGuest) -> None:
    discover = struct.pack(">BBBBIHH16x", 1, 1, 6, 0, 0x1234, 0, 0) + GUEST + bytes(202)
    discover += bytes.fromhex("63825363 350101 ff") + bytes(60)
    datagram = struct.pack(">HHHH", 68, 67, 8 + len(discover), 0) + discover
    guest.send(ethernet(BROADCAST, GUEST, IPV4, ipv4("0.0.0.0", "255.255.255.255", UDP, datagram)))
    _, offer = guest.wait_for_frame(lambda frame: frame[23] == UDP and frame[34:38] == struct.pack(">HH", 67, 68))
    assert offer[42 + 16 : 42 + 20] == socket.inet_aton(ADDRESS)
    assert bytes([53, 1, 2]) in offer


def test_the_gateway_is_the_loopback_of_the_host(guest: NetGuest) -> None:
    mac = gateway_mac(guest)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]
        guest.send(ethernet(mac, GUEST, IPV4, tcp4(ADDRESS, GATEWAY, (4000, port), 100, 2)))
        _, answer = guest.wait_for_frame(lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 6)
        assert read_tcp(answer).flags & 0x12 == 0x12
        connection, _ = server.accept()
        connection.close()


def test_an_address_that_passt_refuses_is_reported_in_one_line(tmp_path: Path) -> None:
    if shutil.which("passt") is None:
        pytest.skip("needs the program passt: install the package passt")
    passt = Passt(forwards=["nonsense"])
    with pytest.raises(PasstError, match="ended with status") as caught:
        passt.start(tmp_path / "passt.sock")
    assert "\n" not in str(caught.value)
    assert not passt.running
    assert list(tmp_path.iterdir()) == []


def test_a_missing_program_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(PasstError, match="no-such-passt: program not found; install"):
        Passt(program="no-such-passt").start(tmp_path / "passt.sock")


def test_stop_removes_the_socket_and_a_new_start_replaces_a_stale_one(tmp_path: Path) -> None:
    if shutil.which("passt") is None:
        pytest.skip("needs the program passt: install the package passt")
    path = tmp_path / "passt.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    for _ in range(2):
        passt = Passt()
        try:
            passt.start(path)
        except PasstError as error:
            if "routable" not in str(error):
                raise
            pytest.skip(f"needs a network interface with a default route: {error}")
        assert passt.running
        assert path.is_socket()
        passt.stop()
        assert not passt.running
        assert not path.exists()
        assert not path.is_symlink()
