# SPDX-License-Identifier: MIT
"""What a keeper hears from a back-end that a guest has taken over: any bytes, any message, any descriptors."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import Any, cast

from fuzz.descriptors import none_left_open
from fuzz.script import Script
from fuzz.turns import LOOP, turn
from fuzz.unexpected import fail_on_traceback
from ivshmem_virtio.service.backend_process import BackendProcess
from ivshmem_virtio.service.backend_run import BackendRun
from ivshmem_virtio.service.channel import VERSION, Channel

LOG = fail_on_traceback()
WORDS = ("hello", "ready", "failed", "serving", "stop", "attach", "", "web", "db")
KEYS = ("type", "version", "guest", "guests", "error", "pid")


class Puppet:
    """A back-end's process, as far as its keeper looks: here, only its channel has a life."""

    pid = 1
    ended = False

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.pidfd = os.eventfd(0)

    def spoke(self) -> bool:
        return False

    def kill(self) -> None:
        """Nobody there."""

    def reap(self) -> int | None:
        return 0

    def close(self) -> None:
        LOOP.remove_reader(self.channel.fileno())
        LOOP.remove_reader(self.pidfd)
        self.channel.close()
        os.close(self.pidfd)


def value(script: Script) -> Any:
    kind = script.below(6)
    if kind == 0:
        return script.choose(WORDS)
    if kind == 1:
        return script.number(4)
    if kind == 2:
        return [value(script) for _ in range(script.below(3))]
    if kind == 3:
        return {script.choose(KEYS): value(script) for _ in range(script.below(3))}
    return None if kind == 4 else script.bytes(script.below(8)).decode("latin-1")


def message(script: Script) -> bytes:
    """A message as a back-end makes them, with some of its keys changed; or any bytes."""
    shape = script.byte()
    if shape & 1:
        return script.bytes(1 + script.below(32))
    if shape & 2:
        return json.dumps(value(script)).encode()
    if shape & 4:
        return b"[" * (script.byte() << 8) + b"0"
    body = {"type": script.choose(WORDS), "version": VERSION, "guest": "web", "guests": ["web"], "error": "no disk"}
    for _ in range(shape >> 3 & 3):
        key = script.choose(KEYS)
        if script.byte() & 1:
            body[key] = value(script)
        else:
            body.pop(key, None)
    return json.dumps(body).encode()


def speak(far: socket.socket, script: Script) -> None:
    """Messages, some with descriptors, each heard before the next one."""
    while script.more:
        descriptors = [0] * (script.byte() & 3)
        with suppress(OSError):
            socket.send_fds(far, [message(script)], descriptors)
        turn(2)
        LOG.check()


def run(data: bytes) -> None:
    """One back-end."""
    with none_left_open():
        channel, far = Channel.pair()
        far.setblocking(False)
        puppet = Puppet(channel)
        process = BackendProcess("web", lambda: None, verbose=False)
        LOOP.call_soon(process.adopt, cast(BackendRun, puppet), {})
        try:
            turn()
            with far:
                speak(far, Script(data))
            turn(2)
        finally:
            puppet.close()
        LOG.check()
