# SPDX-License-Identifier: MIT
"""The network device: what it offers, and what its rings do to frames, whatever the way out."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from ivshmem_virtio.devices.device import DeviceError
from ivshmem_virtio.devices.net import (
    BadNetSettings,
    Net,
    derived_mac,
    fitting_queue_size,
    least_window,
    parse_mac,
    with_dependencies,
)
from ivshmem_virtio.devices.net_header import LONGEST_FRAME, Feature
from ivshmem_virtio.devices.net_switch import Switch
from ivshmem_virtio.devices.net_via import ViaError
from ivshmem_virtio.errors import RingViolation
from tests.devices.frame_stream import accepted, framed, listen_at
from tests.devices.net_frames import BROADCAST, GUEST, OTHER, ethernet
from tests.devices.net_guest import PLAIN, WINDOW, NetGuest, stream_net

FRAME = ethernet(BROADCAST, OTHER, 0x88B5, bytes(range(100)))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[tuple[NetGuest, socket.socket]]:
    """A guest, and the plain socket at the other end of its stream."""
    with connected(stream_net(tmp_path / "net"), tmp_path / "net") as (guest, peer):
        yield guest, peer


@contextmanager
def connected(device: Net, path: Path, features: int | None = None) -> Iterator[tuple[NetGuest, socket.socket]]:
    with (
        listen_at(path) as listener,
        NetGuest(device, window=WINDOW, features=features) as guest,
        accepted(guest, listener) as peer,
    ):
        yield guest, peer


def test_it_offers_no_offload_and_no_control_queue_on_a_stream(tmp_path: Path) -> None:
    device = stream_net(tmp_path / "net", mtu=9000)
    assert device.features == Feature.MAC | Feature.MTU | Feature.STATUS | Feature.MRG_RXBUF
    assert device.device_id == 1
    assert device.queue_sizes == (64, 64)
    assert device.config == device.mac + struct.pack("<HHH", 0, 1, 9000)
    assert not stream_net(tmp_path / "net").features & Feature.MTU


def test_an_address_made_from_a_seed_is_stable_unicast_and_local() -> None:
    assert derived_mac("demo/web/eth0") == derived_mac("demo/web/eth0") != derived_mac("demo/web/eth1")
    for seed in map(str, range(200)):
        assert derived_mac(seed)[0] & 3 == 2
    assert parse_mac("52:54:0:aA:bb:01") == GUEST


@pytest.mark.parametrize("text", ["", "52:54:00:12:34", "01:00:5e:00:00:01", "00:00:00:00:00:00", "52-54-00-12-34-56"])
def test_a_bad_address_is_named(text: str) -> None:
    with pytest.raises(BadNetSettings, match="mac"):
        parse_mac(text)


@pytest.mark.parametrize("mtu", [0, 67, 65536])
def test_a_bad_mtu_is_named(tmp_path: Path, mtu: int) -> None:
    with pytest.raises(BadNetSettings, match=str(mtu)):
        stream_net(tmp_path / "net", mtu=mtu)


def test_queues_shrink_to_the_window_and_never_below_what_linux_needs() -> None:
    assert fitting_queue_size("n", 256, least_window(256)) == 256
    assert fitting_queue_size("n", 256, least_window(256) - 1) == 128
    with pytest.raises(BadNetSettings, match="too small"):
        fitting_queue_size("n", 256, least_window(32) - 1)
    for size in (0, 16, 48, 65536):
        with pytest.raises(BadNetSettings, match=str(size)):
            fitting_queue_size("n", size, 1 << 30)


@pytest.mark.parametrize("via", [{}, {"tap": "a", "switch": "b"}, {"carrier": "pigeon"}, {"tap": "a", "listen": True}])
def test_a_bad_via_is_named(via: dict[str, object]) -> None:
    with pytest.raises(ViaError, match="'via'"):
        Net("n", via=via, window=WINDOW)


def test_a_switch_has_to_be_there() -> None:
    with pytest.raises(DeviceError, match="lan"):
        Net("n", via={"switch": "lan"}, window=WINDOW)
    with pytest.raises(DeviceError, match="lan"):
        Net("n", via={"switch": "lan"}, window=WINDOW, switch=Switch("other"))


def test_offloads_without_their_precondition_are_not_used() -> None:
    assert with_dependencies(int(Feature.HOST_TSO4 | Feature.HOST_ECN)) == 0
    assert with_dependencies(int(Feature.GUEST_TSO6 | Feature.GUEST_ECN)) == 0
    whole = int(Feature.CSUM | Feature.HOST_TSO4 | Feature.HOST_ECN | Feature.GUEST_CSUM | Feature.GUEST_TSO6)
    assert with_dependencies(whole) == whole


@pytest.mark.parametrize("cuts", [[], [12], [5, 12], [12, 26], [1, 2, 3, 50], [40]])
def test_a_frame_goes_out_however_the_driver_cut_it(wire: tuple[NetGuest, socket.socket], cuts: list[int]) -> None:
    guest, peer = wire
    whole = PLAIN + FRAME
    edges = [0, *cuts, len(whole)]
    request = guest.request(1, [whole[a:b] for a, b in pairwise(edges)])
    assert request.written == 0
    assert peer.recv(4096) == framed(FRAME)
    assert guest.counters.transmitted_frames == 1
    assert guest.counters.transmitted_bytes == len(FRAME)


def test_frames_that_make_no_sense_come_back_and_are_counted(wire: tuple[NetGuest, socket.socket]) -> None:
    guest, peer = wire
    for bad in (b"", b"x", PLAIN, PLAIN + FRAME[:13], PLAIN + bytes(LONGEST_FRAME + 1), b"\x01" + PLAIN[1:] + FRAME):
        assert guest.request(1, [bad] if bad else [], 0 if bad else 64).written == 0
    assert guest.counters.transmit_malformed == 6
    guest.send(FRAME)
    assert peer.recv(4096) == framed(FRAME)


def test_the_longest_frame_goes_both_ways(wire: tuple[NetGuest, socket.socket]) -> None:
    guest, peer = wire
    frame = ethernet(BROADCAST, OTHER, 0x88B5, bytes(range(256)) * 256)[:LONGEST_FRAME]
    guest.send([frame[:30000], frame[30000:]])
    assert peer.recv(4 + len(frame), socket.MSG_WAITALL) == framed(frame)
    guest.give_buffers(60)
    peer.sendall(framed(frame))
    header, contents = guest.wait_for_frame()
    assert contents == frame
    assert struct.unpack_from("<H", header, 10) == (-(-(len(frame) + 12) // 2048),)


@pytest.mark.parametrize("size", [12, 13, 26, 64, 111, 112, 126, 127, 4096])
def test_a_frame_fills_buffers_of_any_size_exactly(wire: tuple[NetGuest, socket.socket], size: int) -> None:
    guest, peer = wire
    guest.give_buffers(20, size)
    peer.sendall(framed(FRAME) * 2)
    guest.run_until(lambda: guest.counters.received_frames == 2 or guest.counters.receive_waits)
    got = guest.received()
    # Twenty buffers of twelve bytes hold one frame of 114 bytes and its header, and most of a second.
    assert got == [(PLAIN[:10] + struct.pack("<H", -(-126 // size)), FRAME)] * (1 if size == 12 else 2)


def test_buffers_without_room_for_a_header_come_back_empty(wire: tuple[NetGuest, socket.socket]) -> None:
    guest, peer = wire
    tiny = guest.give_buffers(3, 11)
    guest.give_buffers(1)
    peer.sendall(framed(FRAME))
    guest.run_until(lambda: guest.counters.received_frames)
    returned = guest.collect(0)
    assert [request.written for request in returned] == [0, 0, 0, 12 + len(FRAME)]
    assert returned[:3] == tiny
    assert guest.counters.receive_malformed == 3


def test_frames_wait_for_buffers_and_none_is_cut_or_lost(wire: tuple[NetGuest, socket.socket]) -> None:
    guest, peer = wire
    frames = [ethernet(BROADCAST, OTHER, 0x88B5, struct.pack(">I", i) + bytes(700)) for i in range(40)]
    peer.sendall(b"".join(map(framed, frames)))
    guest.give_buffers(2, 512)
    got = [guest.wait_for_frame()[1]]
    assert guest.counters.receive_waits >= 1
    guest.give_buffers(1, 512)
    guest.run_for(0.02)
    assert guest.received() == []
    while len(got) < len(frames):
        guest.give_buffers(3, 512)
        got += [contents for _, contents in guest.received()]
    assert got == frames
    assert guest.counters.received_frames == len(frames)


def test_a_frame_no_full_ring_could_hold_is_dropped_and_the_next_one_arrives(
    wire: tuple[NetGuest, socket.socket],
) -> None:
    guest, peer = wire
    guest.give_buffers(64, 16)
    peer.sendall(framed(FRAME[:14] + bytes(2000)) + framed(FRAME))
    assert guest.wait_for_frame()[1] == FRAME
    assert guest.counters.receive_too_long == 1


def test_without_mergeable_buffers_each_frame_has_one(tmp_path: Path) -> None:
    with connected(stream_net(tmp_path / "net"), tmp_path / "net", int(Feature.MAC)) as (guest, peer):
        guest.give_buffers(3, 1526)
        peer.sendall(framed(FRAME) + framed(FRAME[:14] + bytes(3000)) + framed(FRAME * 2))
        guest.run_until(lambda: guest.counters.received_frames == 2)
        assert guest.received() == [(PLAIN[:10] + b"\1\0", FRAME), (PLAIN[:10] + b"\1\0", FRAME * 2)]
        assert guest.counters.receive_too_long == 1
        assert guest.driver.config_changes == 0


def test_a_negotiated_mtu_keeps_longer_frames_out(tmp_path: Path) -> None:
    with connected(stream_net(tmp_path / "net", mtu=1000), tmp_path / "net") as (guest, peer):
        guest.give_buffers(4)
        peer.sendall(framed(bytes(1019)) + framed(bytes(1018)))
        assert len(guest.wait_for_frame()[1]) == 1018
        assert guest.counters.receive_too_long == 1


def test_before_a_driver_and_after_its_reset_frames_are_dropped(wire: tuple[NetGuest, socket.socket]) -> None:
    guest, peer = wire
    (held,) = guest.give_buffers(1, 64)
    peer.sendall(framed(FRAME))
    guest.run_until(lambda: guest.counters.receive_waits)
    guest.reset()
    assert guest.counters.receive_inactive == 1
    peer.sendall(framed(FRAME) * 5)
    guest.run_until(lambda: guest.counters.receive_inactive == 6)
    assert guest.window.read(held.writable[0][0], 64) == b"\xee" * 64


def test_buffers_set_aside_survive_the_reset_of_the_other_queue(wire: tuple[NetGuest, socket.socket]) -> None:
    guest, peer = wire
    guest.give_buffers(1, 64)
    peer.sendall(framed(FRAME))
    guest.run_until(lambda: guest.counters.receive_waits)
    guest.device.deactivate()
    guest.device.activate(guest.driver)
    guest.give_buffers(1, 64)
    peer.sendall(framed(FRAME))
    guest.run_until(lambda: guest.counters.received_frames == 1)
    assert [request.written for request in guest.collect(0)] == [64, 62]


def test_a_broken_receive_ring_is_reported_where_the_transport_listens(wire: tuple[NetGuest, socket.socket]) -> None:
    guest, peer = wire
    guest.give_buffers(1)
    guest.corrupt_receive_ring()
    peer.sendall(framed(FRAME) * 3)
    guest.run_until(lambda: guest.counters.receive_inactive == 2)
    with pytest.raises(RingViolation):
        guest.kick(0)
    with pytest.raises(RingViolation):
        guest.kick(1)
