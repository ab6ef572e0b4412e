# SPDX-License-Identifier: MIT
"""What our server puts on the wire, in which order, and to whom (ivshmem-server protocol, version 0)."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.peer import errors

from .raw_client import RawClient, eventually, readable, same_file
from .served_region import ServedRegion

FD = True


def handshake(peer: int, vectors: int, *others: tuple[int, int]) -> list[tuple[int, bool]]:
    """The messages of a handshake: value and whether a descriptor comes with it."""
    listed = [(other, FD) for other, count in others for _ in range(count)]
    return [(0, False), (peer, False), (-1, FD), *listed, *[(peer, FD)] * vectors]


def test_first_client_gets_version_id_memory_and_its_vectors(served: ServedRegion) -> None:
    client = served.connect(served.open_socket(3))
    messages = client.messages(6)
    assert [(value, descriptor is not None) for value, descriptor in messages] == handshake(0, 3)
    assert client.quiet()
    memory = messages[2][1]
    assert memory is not None
    assert os.path.sameopenfile(memory, served.region.memory)
    vectors = [descriptor for _, descriptor in messages[3:] if descriptor is not None]
    assert all(same_file(mine, its) for mine, its in zip(vectors, served.server.doorbells(0), strict=True))
    assert not same_file(vectors[0], vectors[1])


def test_later_client_is_listed_to_others_and_others_to_it(served: ServedRegion) -> None:
    path = served.open_socket(2)
    first = served.connect(path)
    assert first.values(5) == handshake(0, 2)
    local = served.local(500, 1)
    assert first.values(1) == [(500, FD)]
    second = served.connect(path)
    told = second.messages(3 + 2 + 1 + 2)
    assert [(value, descriptor is not None) for value, descriptor in told] == handshake(1, 2, (0, 2), (500, 1))
    joined = first.messages(2)
    assert [value for value, _ in joined] == [1, 1]
    for (_, at_first), (_, at_second) in zip(joined, told[6:], strict=True):
        assert at_first is not None
        assert at_second is not None
        assert same_file(at_first, at_second), "the k-th descriptor of an id is its vector k, for everybody"
    assert told[5][1] is not None
    assert same_file(told[5][1], local[0])


def test_per_peer_vectors(served: ServedRegion) -> None:
    served.guest("a", 3, 5)
    b = served.guest("b", 9, 1)
    first, second = served.connect(served.folder / "a.sock"), served.connect(b)
    assert first.values(8) == handshake(3, 5)
    assert second.values(3 + 5 + 1) == handshake(9, 1, (3, 5))
    assert first.values(1) == [(9, FD)]


def test_leave_is_told_and_ids_are_not_reused_at_once(served: ServedRegion) -> None:
    path = served.open_socket(1)
    first, second = served.connect(path), served.connect(path)
    first.messages(5)
    second.close()
    assert first.message() == (1, None)
    third = served.connect(path)
    assert third.values(5) == handshake(2, 1, (0, 1))
    assert first.values(1) == [(2, FD)]
    assert served.events == [("join", 0), ("join", 1), ("leave", 1), ("join", 2)]


def test_dynamic_ids_avoid_fixed_ones_and_wrap(served: ServedRegion) -> None:
    served.guest("a", 0, 1)
    served.local(2, 1)
    path = served.open_socket(1)
    ids = [served.connect(path).messages(2)[1][0] for _ in range(2)]
    assert ids == [1, 3]
    served.server._next_id = 0xFFFF
    assert [served.connect(path).messages(2)[1][0] for _ in range(2)] == [0xFFFF, 4]


def test_guest_has_same_id_and_eventfds_after_coming_back(served: ServedRegion) -> None:
    path = served.guest("web", 7, 2)
    first = served.connect(path)
    before = first.messages(5)
    kept = [os.dup(descriptor) for _, descriptor in before[3:] if descriptor is not None]
    first.close()
    second = served.connect(path)
    after = second.messages(5)
    assert [value for value, _ in after] == [0, 7, -1, 7, 7]
    for old, (_, new) in zip(kept, after[3:], strict=True):
        assert new is not None
        assert same_file(old, new)
        os.close(old)


def test_coming_back_before_the_end_was_noticed(served: ServedRegion, caplog: pytest.LogCaptureFixture) -> None:
    path = served.guest("web", 7, 1)
    first = served.connect(path)
    first.messages(4)
    held = Event()
    served.loop.call_soon_threadsafe(held.wait)
    second = served.connect(path)
    first.close()
    held.set()
    assert second.values(4) == handshake(7, 1)
    assert "refused" not in caplog.text
    assert eventually(lambda: served.events == [("join", 7), ("leave", 7), ("join", 7)])


def test_second_client_of_a_guest_is_refused_so_that_qemu_ends(
    served: ServedRegion, caplog: pytest.LogCaptureFixture
) -> None:
    path = served.guest("web", 7, 1)
    first = served.connect(path)
    first.messages(4)
    second = served.connect(path)
    assert second.message() == (-16, None)
    assert second.message() is None
    assert first.quiet()
    assert served.present(7)
    assert "guest web: second client refused, peer 7 is connected" in caplog.text


def test_restarted_client_is_not_refused_for_its_dead_predecessor(served: ServedRegion) -> None:
    path = served.guest("web", 7, 1)
    for _ in range(50):
        client = served.connect(path)
        assert client.values(4) == handshake(7, 1)
        client.close()


@pytest.mark.parametrize("data", [b"x", struct.pack("<q", 0), bytes(100_000)], ids=["byte", "message", "flood"])
def test_client_that_writes_is_dropped(served: ServedRegion, caplog: pytest.LogCaptureFixture, data: bytes) -> None:
    path = served.open_socket(1)
    good, bad = served.connect(path), served.connect(path)
    good.messages(5)
    bad.messages(5)
    with_trouble = bad.socket
    with_trouble.setblocking(False)
    try:
        with_trouble.send(data)
    except BlockingIOError:
        pytest.fail("the socket has room for some of it")
    assert good.message() == (1, None)
    assert not served.present(1)
    assert "wrote" in caplog.text
    assert "peer 1" in caplog.text


def test_half_closed_client_is_gone(served: ServedRegion) -> None:
    client = served.connect(served.open_socket(1))
    client.messages(4)
    client.socket.shutdown(socket.SHUT_WR)
    assert eventually(lambda: not served.present(0))


def test_reading_in_pieces_changes_nothing(served: ServedRegion) -> None:
    path = served.open_socket(2)
    served.local(40, 2)
    client = served.connect(path)
    data, found = b"", []
    while len(data) < 7 * 8:
        piece, descriptors, _, _ = socket.recv_fds(client.socket, 1, 4)
        found += [(len(data), descriptor) for descriptor in descriptors]
        client.descriptors += descriptors
        data += piece
    assert struct.unpack("<7q", data) == (0, 0, -1, 40, 40, 0, 0)
    assert [offset for offset, _ in found] == [16, 24, 32, 40, 48], "with the first byte of its message"


def test_silent_client_keeps_nobody_waiting_and_is_dropped_at_the_limit(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = ServedRegion(folder, outbox_limit=200)
    try:
        path = served.open_socket(64)
        silent = served.connect(path)
        assert eventually(lambda: served.present(0))
        for number in range(1, 20):
            client = served.connect(path)
            expected = 3 + 64 * (1 + len([peer for peer in (0,) if served.present(peer)]))
            assert len(client.messages(expected)) == expected
            client.close()
            assert eventually(lambda peer=number: not served.present(peer))
            if not served.present(0):
                break
        else:
            pytest.fail("the silent client is still there")
        assert re.search(r"peer 0: dropped, it does not read: \d+ messages are waiting for it", caplog.text)
        assert silent.message() == (0, None), "what was sent in time is there"
    finally:
        served.close()


def test_slow_client_gets_everything_in_order(served: ServedRegion) -> None:
    path = served.open_socket(64)
    slow = served.connect(path)
    assert eventually(lambda: served.present(0))
    for number in range(1, 9):
        client = served.connect(path)
        client.messages(3 + 128)
        client.close()
        assert eventually(lambda peer=number: not served.present(peer))
    expected = handshake(0, 64)
    for number in range(1, 9):
        expected += [(number, FD)] * 64 + [(number, False)]
    assert slow.values(len(expected)) == expected
    assert slow.quiet()


def test_silent_client_holds_few_descriptors_inside_its_socket(served: ServedRegion) -> None:
    """They count against the server's RLIMIT_NOFILE (unix(7), ETOOMANYREFS)."""
    path = served.open_socket(500)
    silent = served.connect(path)
    assert eventually(lambda: served.present(0))
    held = Event()
    served.loop.call_soon_threadsafe(held.wait)
    try:
        silent.socket.setblocking(False)
        count = 0
        with suppress(BlockingIOError):
            while silent.message() is not None:
                count += 1
    finally:
        held.set()
    assert 3 < count < 20
    silent.socket.settimeout(60)
    assert len(silent.messages(503 - count)) == 503 - count


def test_local_peer_leaves_and_comes_back_with_the_same_eventfds(served: ServedRegion) -> None:
    path = served.guest("web", 1, 1)
    first = served.local(0, 2)
    client = served.connect(path)
    assert client.values(6) == handshake(1, 1, (0, 2))
    served.call(lambda: served.server.remove_local_peer(0))
    assert client.message() == (0, None)
    assert served.local(0, 2) == first
    assert client.values(2) == [(0, FD)] * 2


BAD_PEERS: list[tuple[str, Callable[[ServedRegion], object], type[IvshmemVirtioError], str]] = [
    ("id taken", lambda s: s.guest("b", 1, 1), errors.PeerIdTaken, "1"),
    ("id taken by local", lambda s: s.local(1, 1), errors.PeerIdTaken, "1"),
    ("id too large", lambda s: s.guest("b", 65536, 1), errors.PeerIdOutOfRange, "65536"),
    ("id negative", lambda s: s.local(-1, 1), errors.PeerIdOutOfRange, "-1"),
    ("no vectors", lambda s: s.guest("b", 2, 0), errors.VectorCountOutOfRange, "0"),
    ("too many vectors", lambda s: s.open_socket(2049), errors.VectorCountOutOfRange, "2049"),
    ("unknown peer", lambda s: s.call(lambda: s.server.doorbells(5)), errors.UnknownPeer, "5"),
    ("no local peer", lambda s: s.call(lambda: s.server.remove_local_peer(1)), errors.UnknownPeer, "1"),
]


@pytest.mark.parametrize(("what", "act", "error", "names"), BAD_PEERS, ids=[row[0] for row in BAD_PEERS])
def test_impossible_peers(
    served: ServedRegion,
    what: str,
    act: Callable[[ServedRegion], object],
    error: type[IvshmemVirtioError],
    names: str,
) -> None:
    served.guest("a", 1, 1)
    with pytest.raises(error, match=names) as caught:
        act(served)
    assert "\n" not in str(caught.value)


def test_socket_file(served: ServedRegion, folder: Path) -> None:
    path = folder / "s.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    served.call(lambda: served.server.add_guest("a", path, 1, 1, mode=0o620, owner=Owner(group=os.getgid())))
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    assert served.connect(path).values(4) == handshake(1, 1)
    served.call(served.server.close)
    assert not path.exists()


def test_living_socket_is_respected_without_disturbing_it(served: ServedRegion, folder: Path) -> None:
    path = served.guest("a", 1, 1)
    events = list(served.events)
    with pytest.raises(errors.SocketInUse, match=str(path)):
        served.call(lambda: served.server.add_guest("b", path, 2, 1))
    assert served.events == events
    assert served.connect(path).values(4) == handshake(1, 1)


BAD_PATHS: list[tuple[str, str, type[IvshmemVirtioError]]] = [
    ("a file", "file", errors.SocketPathTaken),
    ("a folder", "", errors.SocketPathTaken),
    ("too long", "x" * 120, errors.SocketPathTooLong),
    ("no such folder", "missing/s", errors.SocketNotCreated),
    ("file as folder", "file/s", errors.SocketNotCreated),
]


@pytest.mark.parametrize(("what", "name", "error"), BAD_PATHS, ids=[row[0] for row in BAD_PATHS])
def test_impossible_socket_paths(
    served: ServedRegion, folder: Path, what: str, name: str, error: type[IvshmemVirtioError]
) -> None:
    (folder / "file").write_text("x")
    path = folder / name
    with pytest.raises(error):
        served.call(lambda: served.server.add_guest("a", path, 1, 1))
    assert served.guest("a", 1, 1), "the id is free again"


def test_rings_do_not_block_when_a_counter_is_full(served: ServedRegion) -> None:
    path = served.guest("web", 1, 1)
    client: RawClient = served.connect(path)
    eventfd = client.messages(4)[3][1]
    assert eventfd is not None
    os.eventfd_write(eventfd, 0xFFFFFFFFFFFFFFFE)
    served.call(lambda: served.server._peers[1].ring(0))
    assert readable(eventfd)


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
