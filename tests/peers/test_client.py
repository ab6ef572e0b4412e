# SPDX-License-Identifier: MIT
"""Our client against servers of every kind: scripted ones, broken ones, silent ones, and our own."""

from __future__ import annotations

import asyncio
import gc
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.peer import errors
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.errors import PeerError
from ivshmem_virtio.peer.foreign import ForeignFrontend

from .raw_client import eventually, readable, same_file
from .scripted_server import Descriptors, ScriptedServer, Step, message
from .served_region import SIZE, ServedRegion

Play = Callable[..., ScriptedServer]


@pytest.fixture
def fds() -> Iterator[Descriptors]:
    """What the scripted server hands out."""
    descriptors = Descriptors()
    yield descriptors
    descriptors.close()


@pytest.fixture
def play(folder: Path) -> Iterator[Play]:
    """Starts a scripted server."""
    started: list[ScriptedServer] = []

    def start(script: list[Step], *, hold: bool = True, piece: int = 8) -> ScriptedServer:
        started.append(ScriptedServer(folder / "s.sock", script, hold=hold, piece=piece))
        return started[-1]

    yield start
    for server in started:
        server.close()


def good(fds: Descriptors, own: int = 4) -> list[Step]:
    """A handshake with one other peer (7, two vectors) and two own vectors."""
    return [
        message(0),
        message(own),
        message(-1, fds.memory),
        message(7, fds.eventfds[0]),
        message(7, fds.eventfds[1]),
        message(own, fds.eventfds[2]),
        message(own, fds.eventfds[3]),
    ]


@pytest.mark.parametrize("piece", [8, 3, 1])
@pytest.mark.parametrize("vectors", [2, None], ids=["count known", "count unknown"])
def test_handshake_in_pieces(play: Play, fds: Descriptors, folder: Path, piece: int, vectors: int | None) -> None:
    play(good(fds), piece=piece)
    with IvshmemClient.attach(folder / "s.sock", vectors=vectors) as client:
        assert (client.peer_id, client.memory_size, client.peers) == (4, 65536, [7])
        assert os.path.sameopenfile(client.memory, fds.memory)
        assert all(same_file(*pair) for pair in zip(client.doorbells(7), fds.eventfds[:2], strict=True))
        assert all(same_file(*pair) for pair in zip(client.own_vectors, fds.eventfds[2:4], strict=True))
        assert client.is_other_peer(7)
        assert not client.is_other_peer(4)
        assert not client.is_other_peer(5)


def test_peers_may_come_before_the_memory(play: Play, fds: Descriptors, folder: Path) -> None:
    play([message(0), message(1), message(9, fds.eventfds[0]), message(-1, fds.memory), message(1, fds.eventfds[1])])
    with IvshmemClient.attach(folder / "s.sock", vectors=1) as client:
        assert client.peers == [9]


def peers_now(client: IvshmemClient) -> list[int]:
    client.poll()
    return client.peers


def truncated(data: int) -> Step:
    return bytes(data), []


BAD_HANDSHAKES: list[tuple[str, Callable[[Descriptors], list[Step]], bool, type[PeerError], str]] = [
    ("silence", lambda _: [], True, errors.ServerSilent, "protocol version"),
    ("closes at once", lambda _: [], False, errors.ServerClosed, "closed"),
    ("wrong version", lambda _: [message(1)], True, errors.WrongVersion, "version 1"),
    ("ancient version", lambda _: [message(-1)], True, errors.WrongVersion, "version -1"),
    ("refusal", lambda _: [message(-16)], False, errors.ServerRefuses, "refuses"),
    ("version with descriptor", lambda f: [message(0, f.memory)], True, errors.UnexpectedDescriptor, "version"),
    ("half a version", lambda _: [truncated(3)], False, errors.StreamEndsInsideMessage, "3 of the 8"),
    ("half a version, then silence", lambda _: [truncated(3)], True, errors.ServerSilent, "version"),
    ("no id", lambda _: [message(0)], True, errors.ServerSilent, "own peer id"),
    ("closes before id", lambda _: [message(0)], False, errors.ServerClosed, "closed"),
    ("id -1", lambda _: [message(0), message(-1)], True, errors.ValueOutOfRange, "-1"),
    ("id too large", lambda _: [message(0), message(65536)], True, errors.ValueOutOfRange, "65536"),
    ("id huge", lambda _: [message(0), message(1 << 62)], True, errors.ValueOutOfRange, str(1 << 62)),
    ("id with descriptor", lambda f: [message(0), message(1, f.memory)], True, errors.UnexpectedDescriptor, "id"),
    ("no memory", lambda _: [message(0), message(1)], True, errors.ServerSilent, "shared memory"),
    (
        "memory without descriptor",
        lambda _: [message(0), message(1), message(-1)],
        True,
        errors.MissingDescriptor,
        "without",
    ),
    ("memory empty", lambda f: [message(0), message(1), message(-1, f.empty)], True, errors.MemoryUnusable, "0 bytes"),
    ("garbage value", lambda _: [message(0), message(1), message(-2)], True, errors.ValueOutOfRange, "-2"),
    (
        "garbage with descriptor",
        lambda f: [message(0), message(1), message(70000, f.eventfds[0])],
        True,
        errors.ValueOutOfRange,
        "70000",
    ),
    (
        "two descriptors",
        lambda f: [message(0), message(1), message(-1, f.memory, f.eventfds[0])],
        True,
        errors.TooManyDescriptors,
        "more than one",
    ),
    (
        "nine descriptors",
        lambda f: [message(0), message(1), message(-1, f.memory, *f.eventfds)],
        True,
        errors.TooManyDescriptors,
        "more than one",
    ),
    (
        "memory twice",
        lambda f: [message(0), message(1), message(-1, f.memory), message(-1, f.memory)],
        True,
        errors.SecondMemory,
        "second",
    ),
    ("no vectors", lambda f: [message(0), message(1), message(-1, f.memory)], True, errors.ServerSilent, "own vectors"),
    (
        "too few vectors",
        lambda f: [message(0), message(1), message(-1, f.memory), message(1, f.eventfds[0])],
        True,
        errors.ServerSilent,
        "2 own vectors",
    ),
    (
        "own id leaves",
        lambda f: [message(0), message(1), message(-1, f.memory), message(1)],
        True,
        errors.OwnIdLeft,
        "peer 1",
    ),
    (
        "closes before vectors",
        lambda f: [message(0), message(1), message(-1, f.memory)],
        False,
        errors.ServerClosed,
        "closed",
    ),
]


@pytest.mark.parametrize(
    ("what", "script", "hold", "error", "says"), BAD_HANDSHAKES, ids=[row[0] for row in BAD_HANDSHAKES]
)
def test_bad_handshakes(
    play: Play,
    fds: Descriptors,
    folder: Path,
    what: str,
    script: Callable[[Descriptors], list[Step]],
    hold: bool,
    error: type[PeerError],
    says: str,
) -> None:
    server = play(script(fds), hold=hold)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error, match=says) as caught:
        # Who waits for the end of its patience must have been told everything by then, on a busy machine as well.
        IvshmemClient.attach(folder / "s.sock", vectors=2, timeout=1.0 if error is errors.ServerSilent else 30.0)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    server.joined()
    # The server's end of the connection may have been counted before, or not yet.
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "every descriptor received is closed again"


def test_silence_ends_in_time(play: Play, folder: Path) -> None:
    play([message(0), 0.4, message(1)])
    began = time.monotonic()
    with pytest.raises(errors.ServerSilent):
        IvshmemClient.attach(folder / "s.sock", vectors=2, timeout=0.2)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("exists", [False, True], ids=["no socket", "stale socket"])
def test_no_server(folder: Path, exists: bool) -> None:
    path = folder / "s.sock"
    if exists:
        path.touch()
    with pytest.raises(errors.ServerUnreachable, match=r"s\.sock"):
        IvshmemClient.attach(path)


def test_peers_join_and_leave(play: Play, fds: Descriptors, folder: Path) -> None:
    server = play(good(fds))
    events: list[tuple[str, int]] = []
    with IvshmemClient.attach(
        folder / "s.sock",
        vectors=2,
        on_join=lambda peer: events.append(("join", peer)),
        on_leave=lambda peer: events.append(("leave", peer)),
    ) as client:
        ringer = client.ringer(9)
        ringer.ring(0)
        server.joined()
        server.play([message(9, fds.eventfds[4]), message(7), message(12), message(9, fds.eventfds[5])])
        client.wait_for_peer(9, 10, vectors=2)
        assert (client.peers, len(ringer)) == ([9], 2)
        assert events == [("join", 7), ("join", 7), ("join", 9), ("leave", 7), ("join", 9)]
        ringer.ring(1)
        assert readable(fds.eventfds[5], 0)
        assert not readable(fds.eventfds[4], 0)
        server.play([message(9)])
        assert eventually(lambda: peers_now(client) == [])
        ringer.ring(1)
        with pytest.raises(errors.ServerSilent, match="peer 9"):
            client.wait_for_peer(9, 0.05)


BAD_LATER: list[tuple[str, Callable[[Descriptors], list[Step]], type[PeerError]]] = [
    ("memory again", lambda f: [message(-1, f.memory)], errors.SecondMemory),
    ("garbage", lambda f: [message(-5)], errors.ValueOutOfRange),
    ("own id leaves", lambda f: [message(4)], errors.OwnIdLeft),
    ("too many vectors", lambda f: [message(9, f.eventfds[0])] * 2049, errors.TooManyVectors),
    ("end", lambda f: [], errors.ServerClosed),
]


def poll_for_ever(client: IvshmemClient) -> None:
    while True:
        client.poll()


@pytest.mark.parametrize(("what", "script", "error"), BAD_LATER, ids=[row[0] for row in BAD_LATER])
def test_server_goes_mad_later(
    play: Play,
    fds: Descriptors,
    folder: Path,
    what: str,
    script: Callable[[Descriptors], list[Step]],
    error: type[PeerError],
) -> None:
    play(good(fds) + script(fds), hold=False)
    with IvshmemClient.attach(folder / "s.sock", vectors=2) as client:
        with pytest.raises(error):
            poll_for_ever(client)
        assert not client.connected
        client.poll()
        client.ringer(7).ring(0)
        assert readable(fds.eventfds[0], 0), "what is known stays usable"


def test_watching_from_a_loop(play: Play, fds: Descriptors, folder: Path) -> None:
    server = play(good(fds))

    async def run() -> list[str]:
        seen: list[str] = []
        lost = asyncio.Event()

        def on_lost(error: PeerError) -> None:
            seen.append(type(error).__name__)
            lost.set()

        client = IvshmemClient.attach(
            folder / "s.sock",
            vectors=2,
            on_join=lambda peer: seen.append(f"join {peer}"),
            on_leave=lambda peer: seen.append(f"leave {peer}"),
            on_lost=on_lost,
        )
        client.watch(asyncio.get_running_loop())
        server.joined()
        server.play([message(9, fds.eventfds[4]), message(9)])
        server.close()
        await asyncio.wait_for(lost.wait(), 10)
        client.close()
        return seen

    assert asyncio.run(run()) == ["join 7", "join 7", "join 9", "leave 9", "ServerClosed"]


def test_own_server_and_two_clients(served: ServedRegion) -> None:
    path = served.open_socket(3)
    with IvshmemClient.attach(path, vectors=3) as first, IvshmemClient.attach(path) as second:
        assert (first.memory_size, second.memory_size) == (SIZE, SIZE)
        assert second.peers == [first.peer_id]
        first.wait_for_peer(second.peer_id, 10, vectors=3)
        first.ringer(second.peer_id).ring(2)
        assert [readable(vector, 0) for vector in second.own_vectors] == [False, False, True]
        os.pwrite(first.memory, b"hello", 4096)
        assert os.pread(second.memory, 5, 4096) == b"hello"


def test_own_server_refuses_a_second_client_of_a_guest(served: ServedRegion) -> None:
    path = served.guest("web", 3, 1)
    with IvshmemClient.attach(path, vectors=1), pytest.raises(errors.ServerRefuses, match="another client"):
        IvshmemClient.attach(path, vectors=1)


def test_frontend_under_a_foreign_server(served: ServedRegion) -> None:
    path = served.open_socket(1)
    with IvshmemClient.attach(path, vectors=1) as backend:
        frontend = ForeignFrontend(backend)
        frontend.ring(0)
        with IvshmemClient.attach(path, vectors=1) as guest:
            backend.wait_for_peer(guest.peer_id, 10)
            frontend.ring(0)
            assert readable(guest.own_vectors[0], 0), "the only other peer must be it"
            os.eventfd_read(guest.own_vectors[0])
            with IvshmemClient.attach(path, vectors=1) as bystander:
                backend.wait_for_peer(bystander.peer_id, 10)
                frontend.ring(0)
                assert not readable(guest.own_vectors[0], 0), "nobody knows which of the two it is"
                assert not frontend.accept(backend.peer_id)
                assert not frontend.accept(bystander.peer_id + 1)
                assert frontend.accept(guest.peer_id)
                frontend.ring(0)
                assert readable(guest.own_vectors[0], 0)
                assert not readable(bystander.own_vectors[0], 0)


def test_encoding_is_little_endian() -> None:
    assert message(-1) == (b"\xff" * 8, [])
    assert struct.unpack("<q", b"\x01" + bytes(7)) == (1,)
