# SPDX-License-Identifier: MIT
"""Messages put together from any pieces, each with the descriptor that was sent with it and no other."""

from __future__ import annotations

import gc
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivshmem_virtio.peer.errors import StreamEndsInsideMessage, TooManyDescriptors, ValueOutOfRange
from ivshmem_virtio.peer.wire import Message, Receiver, decode, encode

MESSAGES = st.lists(
    st.tuples(st.integers(-1, 65535), st.none() | st.integers(0, 7), st.lists(st.integers(1, 7), max_size=7)),
    max_size=8,
)


@contextmanager
def stream() -> Iterator[tuple[socket.socket, Receiver]]:
    """The sending end, and a receiver at the other, which does not block."""
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        receiver = Receiver(far)
        yield near, receiver
        receiver.close()


def take(receiver: Receiver) -> list[Message]:
    """All that has come."""
    found: list[Message] = []
    try:
        while (message := receiver.receive()) is not None:
            found.append(message)
    except BlockingIOError:
        pass
    return found


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_any_pieces(messages: list[tuple[int, int | None, list[int]]]) -> None:
    """A descriptor may come with any byte of its message, which may be cut anywhere."""
    read_end, write_end = os.pipe()
    inode = os.fstat(read_end).st_ino
    try:
        with stream() as (near, receiver):
            found: list[Message] = []
            for value, with_byte, cuts in messages:
                edges = sorted({0, 8, *cuts, *(() if with_byte is None else (with_byte,))})
                for start, end in pairwise(edges):
                    socket.send_fds(near, [encode(value)[start:end]], [read_end] if start == with_byte else [])
                    found += take(receiver)
            assert [(message.value, message.descriptor is not None) for message in found] == [
                (value, with_byte is not None) for value, with_byte, _ in messages
            ]
            for message in found:
                if message.descriptor is not None:
                    assert os.fstat(message.descriptor).st_ino == inode
                    assert not os.get_inheritable(message.descriptor)
                message.close()
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("value", [-1, 0, 1, 65535])
def test_values(value: int) -> None:
    assert encode(value) == struct.pack("<q", value)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("value", [-2, 65536, 1 << 31, 1 << 62, -(1 << 63)])
def test_values_that_mean_nothing(value: int) -> None:
    with pytest.raises(ValueOutOfRange, match=str(value)):
        decode(struct.pack("<q", value))


@pytest.mark.parametrize("pieces", [[2], [1, 1], [3], [8]])
def test_more_than_one_descriptor(pieces: list[int]) -> None:
    gc.collect()  # or descriptors that other tests have left go away meanwhile
    before = set(os.listdir("/proc/self/fd"))
    with stream() as (near, receiver):
        for count in pieces:
            socket.send_fds(near, [b"\0"], [0] * count)
        with pytest.raises(TooManyDescriptors):
            receiver.receive()
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("length", range(8))
def test_end_of_the_stream(length: int) -> None:
    gc.collect()  # or descriptors that other tests have left go away meanwhile
    before = set(os.listdir("/proc/self/fd"))
    with stream() as (near, receiver):
        if length:
            socket.send_fds(near, [bytes(length)], [0])
        near.shutdown(socket.SHUT_WR)
        if length:
            with pytest.raises(StreamEndsInsideMessage, match=f"after {length} of the 8"):
                receiver.receive()
        assert receiver.receive() is None
    assert set(os.listdir("/proc/self/fd")) <= before
