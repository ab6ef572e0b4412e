# SPDX-License-Identifier: MIT
"""Stream and tap served by a worker: frames both ways, back-pressure both ways, and a host's side that goes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_header import LONGEST_FRAME
from ivshmem_virtio.devices.placement import PlacementInvalid
from tests.devices.frame_stream import accepted, framed, listen_at, read_frames
from tests.devices.net_frames import ARP, BROADCAST, GUEST, OTHER, arp_request, ethernet
from tests.devices.net_guest import PLAIN, WINDOW, stream_net
from tests.devices.net_on_worker import NetOnWorker
from tests.peers.private_network import ip
from tests.peers.tap_interface import GUEST_IP, HOST_IP, is_udp, queueing, tap_net
from tests.peers.tap_interface import tap as tap


def numbered(count: int, size: int) -> list[bytes]:
    return [ethernet(BROADCAST, OTHER, 0x88B5, struct.pack(">I", i) * (size // 4)) for i in range(count)]


@contextmanager
def connected(path: Path) -> Iterator[tuple[NetOnWorker, socket.socket, socket.socket]]:
    """A guest, the socket its device connects to, and the connection."""
    with (
        listen_at(path) as listener,
        NetOnWorker(stream_net(path), window=WINDOW) as guest,
        accepted(guest, listener) as peer,
    ):
        yield guest, listener, peer


def send_and_wait_for_the_first(guest: NetOnWorker, frames: Iterable[bytes]) -> None:
    """More than the peer has room for, so that the others wait."""
    for frame in frames:
        guest.post(1, PLAIN + frame)
    guest.kick(1)
    guest.run_until(lambda: guest.counters.transmitted_frames)


def test_frames_go_out_and_come_back_in_order(tmp_path: Path) -> None:
    with connected(tmp_path / "net") as (guest, _, peer):
        for size in (60, 1500, 9000):
            frames = numbered(30, size)
            for frame in frames:
                guest.post(1, PLAIN + frame)
            guest.kick(1)
            assert read_frames(guest, peer, len(frames)) == frames
            guest.wait_for(1, len(frames))
            guest.give_buffers(30, 9100)
            peer.sendall(b"".join(map(framed, frames)))
            got: list[bytes] = []

            def receive(into: list[bytes] = got) -> bool:
                into += [contents for _, contents in guest.received()]
                return len(into) >= 30

            guest.run_until(receive)
            assert got == frames
        assert not guest.stopped


def test_a_peer_that_does_not_read_holds_the_ring_and_nothing_is_lost(tmp_path: Path) -> None:
    frames = numbered(60, 16000)
    with connected(tmp_path / "net") as (guest, _, peer):
        send_and_wait_for_the_first(guest, frames)
        guest.run_for(0.05)
        assert guest.counters.transmitted_frames < len(frames)
        assert read_frames(guest, peer, len(frames)) == frames
        guest.wait_for(1, len(frames))


def test_frames_wait_for_buffers_and_none_is_lost(tmp_path: Path) -> None:
    frames = numbered(200, 1000)
    with connected(tmp_path / "net") as (guest, _, peer):
        peer.sendall(b"".join(map(framed, frames)))
        guest.run_until(lambda: guest.counters.receive_waits)
        got: list[bytes] = []
        while len(got) < len(frames):
            before = len(got)
            guest.give_buffers(10)

            def more(least: int = before + 10) -> bool:
                got.extend(contents for _, contents in guest.received())
                return len(got) >= least

            guest.run_until(more)
        assert got == frames


def test_a_lost_connection_releases_what_waited_and_the_next_one_serves(tmp_path: Path) -> None:
    with connected(tmp_path / "net") as (guest, listener, peer):
        send_and_wait_for_the_first(guest, [frame[:30000] for frame in numbered(60, 60000)])
        peer.close()
        guest.wait_for(1, 60)
        guest.run_until(lambda: guest.counters.connection_losses == 1)
        with accepted(guest, listener) as again:
            (frame,) = numbered(1, 100)
            guest.post(1, PLAIN + frame)
            guest.kick(1)
            assert read_frames(guest, again, 1) == [frame]
            again.sendall(struct.pack(">I", LONGEST_FRAME + 1))
            guest.run_until(lambda: guest.counters.connection_losses == 2)


def test_chains_at_hand_survive_the_reset_of_the_other_queue(tmp_path: Path) -> None:
    frames = numbered(60, 16000)
    with connected(tmp_path / "net") as (guest, _, peer):
        send_and_wait_for_the_first(guest, frames)
        guest.renew_queue(0)
        assert read_frames(guest, peer, len(frames)) == frames
        guest.wait_for(1, len(frames))


def test_a_broken_ring_is_reported(tmp_path: Path) -> None:
    with connected(tmp_path / "net") as (guest, _, peer):
        guest.give_buffers(4)
        guest.corrupt_receive_ring()
        peer.sendall(framed(numbered(1, 100)[0]))
        guest.run_until(lambda: 0 in guest.stopped)


def test_a_tap_both_ways(tap: str) -> None:
    with NetOnWorker(tap_net(), window=WINDOW) as guest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        guest.run_until(lambda: not queueing().startswith("noop"))
        for number in range(40):
            sender.sendto(bytes([number]) * 1000, (GUEST_IP, 9))
        guest.run_until(lambda: guest.counters.receive_waits)
        got: list[bytes] = []

        def all_came() -> bool:
            got.extend(frame for _, frame in guest.received())
            if not guest.rings[0].outstanding:
                guest.give_buffers(4)
            return len([frame for frame in got if is_udp(frame)]) >= 40

        guest.run_until(all_came)
        assert [frame[42:] for frame in got if is_udp(frame)] == [bytes([number]) * 1000 for number in range(40)]
        guest.give_buffers(16)
        guest.post(1, PLAIN + arp_request(GUEST, GUEST_IP, HOST_IP))
        guest.kick(1)
        _, reply = guest.wait_for_frame(lambda frame: frame[12:14] == struct.pack(">H", ARP) and frame[:6] == GUEST)
        assert reply[28:32] == socket.inet_aton(HOST_IP)


def test_a_tap_that_goes_and_comes_back(tap: str) -> None:
    with NetOnWorker(tap_net(), window=WINDOW) as guest:
        ip("link del tap0")
        guest.run_until(lambda: not guest.link_is_up)
        ip("tuntap add dev tap0 mode tap")
        guest.run_until(lambda: guest.link_is_up)


@pytest.mark.parametrize("poll", ["sometimes", -1])
def test_a_bad_placement_is_named(tmp_path: Path, poll: str | int) -> None:
    with pytest.raises(PlacementInvalid, match="poll"):
        Net("eth0", via={"stream": str(tmp_path / "net")}, window=WINDOW, poll=poll)
