# SPDX-License-Identifier: MIT
"""The stream way out against real sockets: connecting, losing, framing, and a peer that does not read."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ivshmem_virtio.devices.net_header import LONGEST_FRAME
from ivshmem_virtio.devices.net_via import ViaError
from tests.devices.frame_stream import accepted, framed, listen_at, read_frames
from tests.devices.net_frames import BROADCAST, OTHER, ethernet
from tests.devices.net_guest import PLAIN, WINDOW, NetGuest, stream_net

FRAME = ethernet(BROADCAST, OTHER, 0x88B5, bytes(range(100)))


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[NetGuest]:
    """A guest whose peer does not exist yet."""
    with NetGuest(stream_net(tmp_path / "net"), window=WINDOW) as guest:
        yield guest


def test_the_link_follows_the_connection_and_the_driver_is_told(lone: NetGuest, tmp_path: Path) -> None:
    assert not lone.link_is_up
    lone.send(FRAME)
    assert lone.counters.transmit_link_down == 1
    for round_ in range(3):
        with listen_at(tmp_path / "net") as listener:
            lone.run_until(lambda: lone.link_is_up)
            assert lone.driver.config_changes == 2 * round_ + 1
            peer, _ = listener.accept()
            with peer:
                lone.send(FRAME)
                assert peer.recv(4096) == framed(FRAME)
                (tmp_path / "net").unlink()
        lone.run_until(lambda: not lone.link_is_up)
        assert lone.driver.config_changes == 2 * round_ + 2
        lone.send(FRAME)
        assert lone.counters.transmit_link_down == round_ + 2
    assert lone.counters.connection_losses == 3


def test_frames_cut_anywhere_by_the_socket_are_put_together(lone: NetGuest, tmp_path: Path) -> None:
    frames = [ethernet(BROADCAST, OTHER, 0x88B5, bytes(i)) for i in range(1, 40)]
    wire = b"".join(map(framed, frames))
    lone.give_buffers(60)
    with listen_at(tmp_path / "net") as listener, accepted(lone, listener) as peer:
        got: list[bytes] = []
        for start in range(0, len(wire), 37):
            peer.sendall(wire[start : start + 37])
            lone.run_for(0)
            got += [contents for _, contents in lone.received()]
        lone.run_until(lambda: lone.counters.received_frames == len(frames))
        got += [contents for _, contents in lone.received()]
    assert got == frames


def test_lost_framing_is_logged_and_ends_in_a_new_connection(
    lone: NetGuest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lone.give_buffers(4)
    with listen_at(tmp_path / "net") as listener, caplog.at_level(logging.WARNING):
        with accepted(lone, listener) as peer:
            peer.sendall(framed(FRAME) + struct.pack(">I", LONGEST_FRAME + 1) + b"rest")
            assert lone.wait_for_frame()[1] == FRAME
            lone.run_until(lambda: lone.counters.connection_losses == 1)
        assert f"frame of {LONGEST_FRAME + 1} bytes" in caplog.text
        with accepted(lone, listener) as peer:
            peer.sendall(framed(FRAME))
            assert lone.wait_for_frame()[1] == FRAME


def test_runts_are_dropped_without_losing_the_connection(lone: NetGuest, tmp_path: Path) -> None:
    lone.give_buffers(4)
    with listen_at(tmp_path / "net") as listener, accepted(lone, listener) as peer:
        peer.sendall(framed(b"") + framed(b"x" * 13) + framed(FRAME))
        assert lone.wait_for_frame()[1] == FRAME
    assert lone.counters.receive_malformed == 2


def test_a_peer_that_does_not_read_holds_the_ring_and_nothing_is_lost(lone: NetGuest, tmp_path: Path) -> None:
    frames = [ethernet(BROADCAST, OTHER, 0x88B5, struct.pack(">I", i) * 15000) for i in range(60)]
    with listen_at(tmp_path / "net") as listener, accepted(lone, listener) as peer:
        for frame in frames:
            lone.post(1, PLAIN + frame)
            lone.kick(1)
        waiting = lone.rings[1].device.ring.pending()
        assert waiting > 10
        assert lone.counters.transmitted_bytes < 2 * 65536 + 1_000_000
        lone.run_for(0.02)
        assert lone.rings[1].device.ring.pending() == waiting
        received = bytearray()
        wanted = b"".join(map(framed, frames))

        def drain() -> bool:
            peer.setblocking(False)
            with suppress(BlockingIOError):
                received.extend(peer.recv(1 << 16))
            return len(received) >= len(wanted)

        lone.run_until(drain)
        assert received == wanted
    lone.collect(1)
    assert not lone.rings[1].outstanding


def test_a_peer_gets_whole_frames_at_any_time(lone: NetGuest, tmp_path: Path) -> None:
    """Whatever was sent so far ends where a frame ends: a reader that counts on it loses nothing, nor at a kill."""
    frames = [ethernet(BROADCAST, OTHER, 0x88B5, bytes(9000 + i)) for i in range(60)]
    with listen_at(tmp_path / "net") as listener, accepted(lone, listener) as peer:
        for frame in frames:
            lone.post(1, PLAIN + frame)
            lone.kick(1)
        assert lone.rings[1].device.ring.pending()
        assert read_frames(lone, peer, len(frames)) == frames


def test_a_lost_connection_releases_the_frames_that_waited(lone: NetGuest, tmp_path: Path) -> None:
    with listen_at(tmp_path / "net") as listener:
        with accepted(lone, listener):
            for _ in range(50):
                lone.post(1, PLAIN + FRAME + bytes(60000))
                lone.kick(1)
            assert lone.rings[1].device.ring.pending()
        lone.run_until(lambda: not lone.rings[1].device.ring.pending())
    assert lone.counters.transmit_link_down > 0


def test_two_devices_one_listening_talk_and_find_each_other_again(tmp_path: Path) -> None:
    path = tmp_path / "pair"
    with ExitStack() as stack:
        server = stack.enter_context(NetGuest(stream_net(path, listen=True), window=WINDOW))
        assert not server.link_is_up
        for _ in range(2):
            with NetGuest(stream_net(path), window=WINDOW) as client:
                assert client.link_is_up
                server.run_until(lambda: server.link_is_up)
                server.give_buffers(2)
                client.give_buffers(2)
                client.send(FRAME)
                assert server.wait_for_frame()[1] == FRAME
                server.send(FRAME[::-1])
                assert client.wait_for_frame()[1] == FRAME[::-1]
            server.run_until(lambda: not server.link_is_up)
    assert not path.exists()


def test_a_second_peer_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "pair"
    with NetGuest(stream_net(path, listen=True), window=WINDOW) as server, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        server.run_until(lambda: server.link_is_up)
        with socket.socket(socket.AF_UNIX) as second:
            second.connect(str(path))
            server.run_for(0.05)
            second.settimeout(60)
            assert second.recv(1) == b""
        server.send(FRAME)
        assert first.recv(4096) == framed(FRAME)


def test_listening_replaces_a_stale_socket_but_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "pair"
    with listen_at(path), pytest.raises(ViaError, match="listens there already"):
        NetGuest(stream_net(path, listen=True), window=WINDOW)
    with NetGuest(stream_net(path, listen=True), window=WINDOW):
        assert path.is_socket()
    path.write_text("precious")
    with pytest.raises(ViaError, match="not a socket"):
        NetGuest(stream_net(path, listen=True), window=WINDOW)
    assert path.read_text() == "precious"


def test_an_impossible_path_is_named(tmp_path: Path) -> None:
    for listen in (False, True):
        with pytest.raises(ViaError, match="path too long"):
            NetGuest(stream_net(tmp_path / ("x" * 200), listen=listen), window=WINDOW)
    with pytest.raises(ViaError, match="No such file"):
        NetGuest(stream_net(tmp_path / "missing" / "net", listen=True), window=WINDOW)
