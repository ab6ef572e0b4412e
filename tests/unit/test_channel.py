# SPDX-License-Identifier: MIT
"""What a keeper hears from a back-end that was taken over by its guest harms nobody else."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Iterator

import pytest

from ivshmem_virtio.service.backend_word import word_of
from ivshmem_virtio.service.channel import VERSION, Channel, ChannelError, Message


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    channel, far = Channel.pair()
    with far:
        yield channel, far
    channel.close()


BAD_BYTES = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "too deep": b"[" * 100_000,
    "no table": b"[1]",
    "no type": b'{"version": 1}',
    "type is no text": b'{"version": 1, "type": 7}',
    "another version": b'{"version": 2, "type": "hello"}',
}


@pytest.mark.parametrize("data", BAD_BYTES.values(), ids=BAD_BYTES)
def test_bytes_that_are_no_message_keep_no_descriptor(data: bytes, ends: tuple[Channel, socket.socket]) -> None:
    channel, far = ends
    gc.collect()  # or descriptors that other tests have left go away meanwhile
    before = set(os.listdir("/proc/self/fd"))
    socket.send_fds(far, [data], [0, 0, 0])
    with pytest.raises(ChannelError):
        channel.receive()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_descriptors_come_with_a_message(ends: tuple[Channel, socket.socket]) -> None:
    channel, far = ends
    socket.send_fds(far, [json.dumps({"type": "attach", "version": VERSION}).encode()], [0])
    received = channel.receive()
    assert received is not None
    assert received[0]["type"] == "attach"
    os.close(received[1][0])


BAD_WORDS: list[tuple[Message, str]] = [
    ({"type": "attach"}, "type"),
    ({"type": "ready", "guest": ["web"]}, "guest"),
    ({"type": "failed", "guest": "web", "error": {}}, "error"),
    ({"type": "serving", "guests": "web"}, "guests"),
    ({"type": "serving", "guests": [1]}, "guests"),
]


@pytest.mark.parametrize(("message", "key"), BAD_WORDS)
def test_a_word_that_a_back_end_does_not_have(message: Message, key: str) -> None:
    with pytest.raises(ChannelError, match=f"no usable {key}:"):
        word_of(message)
