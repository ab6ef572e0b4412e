# SPDX-License-Identifier: MIT
"""What a vhost-user daemon that breaks the protocol is told, and that the connection ends with it."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from ivshmem_virtio.vhost_user.channel import Channel
from ivshmem_virtio.vhost_user.errors import (
    ConfigReplyInvalid,
    DaemonGone,
    DaemonSilent,
    ReplyDescriptorUnexpected,
    ReplyLengthInvalid,
    ReplyToAnother,
    ReplyVersionInvalid,
    RequestRefused,
    VhostUserError,
    VringBaseInvalid,
    VringFailed,
)
from ivshmem_virtio.vhost_user.features import ProtocolFeature
from ivshmem_virtio.vhost_user.front_end import FrontEnd
from ivshmem_virtio.vhost_user.messages import CONFIG_HEADER, HEADER, Request
from ivshmem_virtio.vhost_user.shared_slice import SharedSlice
from ivshmem_virtio.vhost_user.vring import RingPlace

REPLY = 1 | 4
SECONDS = 60.0
EIGHT = bytes(8)
Ends = tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A channel, and the daemon's end of it."""
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(SECONDS)
        yield Channel(near, SECONDS), far


def answer(request: int, payload: bytes, flags: int = REPLY) -> bytes:
    return HEADER.pack(request, flags, len(payload)) + payload


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(Request.GET_FEATURES, EIGHT, flags=1), ReplyVersionInvalid),
        (answer(Request.GET_FEATURES, EIGHT, flags=2 | 4), ReplyVersionInvalid),
        (answer(Request.GET_QUEUE_NUM, EIGHT), ReplyToAnother),
        (answer(Request.GET_FEATURES, bytes(4)), ReplyLengthInvalid),
        (HEADER.pack(Request.GET_FEATURES, REPLY, 0xFFFFFFFF), ReplyLengthInvalid),
    ],
    ids=["no reply", "version 2", "another request", "short", "4 GiB"],
)
def test_answers_that_break_the_protocol(ends: Ends, said: bytes, error: type[VhostUserError]) -> None:
    channel, daemon = ends
    daemon.sendall(said)
    with pytest.raises(error):
        channel.ask(Request.GET_FEATURES)
    assert channel.at_end()
    assert channel.fileno() < 0, "the connection must be closed"


def test_answer_in_pieces(ends: Ends) -> None:
    channel, daemon = ends

    def speak() -> None:
        for byte in answer(Request.GET_FEATURES, struct.pack("<Q", 0x123456789)):
            daemon.sendall(bytes([byte]))

    thread = threading.Thread(target=speak)
    thread.start()
    assert channel.ask(Request.GET_FEATURES) == (0x123456789,)
    thread.join()


def test_end_within_an_answer(ends: Ends) -> None:
    channel, daemon = ends
    daemon.sendall(answer(Request.GET_FEATURES, EIGHT)[:-3])
    daemon.shutdown(socket.SHUT_RDWR)
    with pytest.raises(DaemonGone):
        channel.ask(Request.GET_FEATURES)


def test_descriptor_nobody_asked_for_is_closed(ends: Ends) -> None:
    channel, daemon = ends
    read, write = os.pipe()
    socket.send_fds(daemon, [answer(Request.GET_FEATURES, EIGHT)], [write])
    os.close(write)
    with pytest.raises(ReplyDescriptorUnexpected):
        channel.ask(Request.GET_FEATURES)
    assert os.read(read, 1) == b"", "the descriptor is still open"
    os.close(read)


def test_silence(ends: Ends) -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(DaemonSilent, match="GET_FEATURES"):
        Channel(near, 0.05).ask(Request.GET_FEATURES)


def test_refusal_is_named(ends: Ends) -> None:
    channel, daemon = ends
    channel.acknowledged = True
    daemon.sendall(answer(Request.SET_VRING_NUM, struct.pack("<Q", 1)))
    with pytest.raises(RequestRefused, match=r"SET_VRING_NUM \[0, 64\] with status 1"):
        channel.tell(Request.SET_VRING_NUM, 0, 64)


def test_unasked_words_are_an_end(ends: Ends) -> None:
    channel, daemon = ends
    assert not channel.at_end()
    daemon.sendall(b"hello")
    assert channel.at_end()


class ScriptedDaemon:
    """Acknowledges everything and answers questions from a table, or as a test says."""

    def __init__(self, end: socket.socket, answers: dict[int, Callable[[bytes], bytes]]) -> None:
        self._end = end
        self._answers = answers
        self.descriptors: dict[int, int] = {}
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        plain: dict[int, Callable[[bytes], bytes]] = {
            Request.GET_FEATURES: lambda _: struct.pack("<Q", 1 << 30 | 1 << 32),
            Request.GET_PROTOCOL_FEATURES: lambda _: struct.pack("<Q", 0xFFFF),
            Request.GET_QUEUE_NUM: lambda _: struct.pack("<Q", 2),
        }
        while True:
            header, descriptors, _, _ = socket.recv_fds(self._end, HEADER.size, 4)
            if not header:
                return
            request, flags, size = HEADER.unpack(header)
            payload = self._end.recv(size) if size else b""
            for descriptor in descriptors:
                self.descriptors[request] = descriptor
            made = {**plain, **self._answers}.get(request)
            if made is not None:
                self._end.sendall(answer(request, made(payload)))
            elif flags & 8:
                self._end.sendall(answer(request, EIGHT))

    def close(self) -> None:
        self._end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for descriptor in self.descriptors.values():
            os.close(descriptor)


class Site:
    """A front-end that has met a scripted daemon."""

    def __init__(self, answers: dict[int, Callable[[bytes], bytes]]) -> None:
        self.memory = os.memfd_create("vhost-test", os.MFD_CLOEXEC)
        os.truncate(self.memory, 65536)
        near, far = socket.socketpair()
        self._sockets = near, far
        self.daemon = ScriptedDaemon(far, answers)
        self.front_end = FrontEnd(Channel(near, SECONDS), SharedSlice(self.memory, 0, 65536))
        self.front_end._meet()

    def close(self) -> None:
        self.front_end.close()
        self.daemon.close()
        for end in self._sockets:
            end.close()
        os.close(self.memory)


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(answers: dict[int, Callable[[bytes], bytes]] | None = None) -> Site:
        made.append(Site(answers or {}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_error_eventfd_is_reported(site: Callable[..., Site]) -> None:
    here = site()
    assert here.front_end.protocol_features & ProtocolFeature.REPLY_ACK
    here.front_end.negotiate(0)
    here.front_end.start_vring(1, RingPlace(16, 0, 0x1000, 0x2000))
    here.front_end.check()
    os.eventfd_write(here.daemon.descriptors[Request.SET_VRING_ERR], 1)
    with pytest.raises(VringFailed, match="queue 1"):
        here.front_end.check()
    here.front_end.check()


def test_packed_ring_starts_with_its_wrap_counters(site: Callable[..., Site]) -> None:
    bases: list[bytes] = []

    def note(payload: bytes) -> bytes:
        bases.append(payload)
        return EIGHT

    here = site({Request.SET_VRING_BASE: note})
    here.front_end.negotiate(0)
    here.front_end.start_vring(0, RingPlace(16, 0, 0x1000, 0x2000, packed=True))
    assert bases == [struct.pack("<II", 0, 0x80008000)]


@pytest.mark.parametrize("stopped", [(1, 3), (0, 0x10000)])
def test_queue_stopped_at_nonsense(site: Callable[..., Site], stopped: tuple[int, int]) -> None:
    here = site({Request.GET_VRING_BASE: lambda _: struct.pack("<II", *stopped)})
    here.front_end.negotiate(0)
    here.front_end.start_vring(0, RingPlace(16, 0, 0x1000, 0x2000))
    with pytest.raises(VringBaseInvalid):
        here.front_end.stop_vring(0)


def test_configuration_of_another_place(site: Callable[..., Site]) -> None:
    here = site({Request.GET_CONFIG: lambda payload: CONFIG_HEADER.pack(8, 8, 0) + payload[CONFIG_HEADER.size :]})
    with pytest.raises(ConfigReplyInvalid):
        here.front_end.read_config(0, 8)
