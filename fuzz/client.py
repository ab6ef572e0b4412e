# SPDX-License-Identifier: MIT
"""A peer whose ivshmem-server sends anything: numbers, descriptors with them or not, cut anywhere."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from fuzz.descriptors import none_left_open
from fuzz.script import Script
from fuzz.unexpected import fail_on_traceback
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.errors import PeerError
from ivshmem_virtio.peer.wire import LARGEST_ID, encode

LOG = fail_on_traceback()
OWN_ID = 3
VALUES = (0, -1, OWN_ID, 1, 2, LARGEST_ID, LARGEST_ID + 1, -2, -16, 1 << 62)
PATIENCE = 0.5
"""Seconds. Nobody waits for more than has been sent, because the other end is closed by then."""


def send(stream: socket.socket, data: bytes, descriptors: int) -> None:
    """Some bytes with so many descriptors."""
    made = [os.eventfd(0) for _ in range(descriptors)]
    try:
        socket.send_fds(stream, [data], made)
    finally:
        for descriptor in made:
            os.close(descriptor)


def greet(stream: socket.socket) -> None:
    """A good beginning: version, own id, memory, one own vector."""
    memory = os.memfd_create("ivshmem-virtio-fuzz")
    try:
        os.ftruncate(memory, 4096)
        stream.send(encode(0) + encode(OWN_ID))
        socket.send_fds(stream, [encode(-1)], [memory])
    finally:
        os.close(memory)
    send(stream, encode(OWN_ID), 1)


def speak(stream: socket.socket, script: Script) -> None:
    """What the server says, all of it before the client listens."""
    if script.byte() & 1:
        greet(stream)
    while script.more:
        shape = script.byte()
        data = script.choose(VALUES).to_bytes(8, "little", signed=True) if shape & 1 else script.bytes(8)
        length = 1 + script.below(16) if shape & 2 else 8
        with suppress(BlockingIOError):
            send(stream, data[:length], (shape >> 2 & 7) % 6 if shape & 0x20 else shape >> 2 & 1)


def listen(client: IvshmemClient, vectors: int | None) -> None:
    """From the handshake to the end of the stream."""
    client._handshake(time.monotonic() + PATIENCE, vectors)
    for peer in client.peers:
        client.ringer(peer).ring(0)
    while client.connected:
        client.poll()


def run(data: bytes) -> None:
    """One connection."""
    script = Script(data)
    with none_left_open():
        near, far = socket.socketpair()
        far.setblocking(False)
        vectors = script.below(4) or None
        with far:
            speak(far, script)
        client = IvshmemClient(near)
        with client, suppress(PeerError):
            listen(client, vectors)
        LOG.check()
