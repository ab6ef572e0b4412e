# SPDX-License-Identifier: MIT
"""The host's end of the command channel against a scripted other end; the real one is in tests/vm/test_boot.py."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivshmem_virtio.vm.control import ControlShell
from ivshmem_virtio.vm.errors import CommandFailed, GuestRebooted, GuestTimeout, QemuFailed

BOOT_ID = "00000000-1111-2222-3333-444444444444"
READY = f"noise\n=ready {BOOT_ID}\n".encode()


class Peer:
    """Answers requests with what ``answer(token, command)`` returns, cut into pieces of ``piece`` bytes."""

    def __init__(self, answer: Callable[[bytes, bytes], bytes], piece: int = 1 << 16) -> None:
        self.host, self.guest = socket.socketpair()
        self.requests: list[bytes] = []
        self._answer = answer
        self._piece = piece
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self.guest, self.guest.makefile("rb") as lines:
            for line in lines:
                self.requests.append(line)
                token, _, command = line.strip(b"\x03\n").partition(b" ")
                if not command:
                    continue
                data = self._answer(token, base64.b64decode(command))
                for start in range(0, len(data), self._piece):
                    self.guest.sendall(data[start : start + self._piece])

    def close(self) -> None:
        self.host.close()
        self._thread.join()


def frame(token: bytes, output: bytes, status: int = 0) -> bytes:
    return b"\n<" + token + b"\n" + output + b"\n" + token + b">%d\n" % status


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.close()


def nobody_died() -> None:
    """The guest's QEMU is fine."""


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_output_comes_back_whole(output: bytes, piece: int) -> None:
    peer = Peer(lambda token, command: b"left over" + frame(token, output), piece)
    try:
        assert ControlShell(peer.host, nobody_died).run("x", 20) == output
    finally:
        peer.close()


def test_output_that_looks_like_a_frame(peers: list[Peer]) -> None:
    tricks = b"\n0123456789abcdef>0\n\n<0123456789abcdef\n>0\n"
    peers.append(Peer(lambda token, command: frame(token, tricks + token[:-1] + b">7\n"), 7))
    shell = ControlShell(peers[0].host, nobody_died)
    assert shell.run("x", 20).startswith(tricks)


def test_the_command_arrives_as_it_was(peers: list[Peer]) -> None:
    peers.append(Peer(lambda token, command: frame(token, command)))
    command = "echo 'two\nlines' \"$HOME\" \\ ü"
    assert ControlShell(peers[0].host, nobody_died).run(command, 20).decode() == command


def test_a_status_is_an_error_with_output(peers: list[Peer]) -> None:
    peers.append(Peer(lambda token, command: frame(token, b"first\nlast\n", 3)))
    with pytest.raises(CommandFailed, match="ended with status 3: last") as caught:
        ControlShell(peers[0].host, nobody_died).run("x", 20)
    assert caught.value.output == "first\nlast\n"
    assert caught.value.status == 3


def test_a_late_command_is_interrupted_and_the_channel_lives(peers: list[Peer]) -> None:
    def answer(token: bytes, command: bytes) -> bytes:
        if command == b"slow":
            waiting.append(token)
            return b"\n<" + token + b"\nstarted"
        return frame(token, b"fine")

    waiting: list[bytes] = []
    peers.append(Peer(answer))
    shell = ControlShell(peers[0].host, nobody_died)
    ender = threading.Timer(2.0, lambda: peers[0].guest.sendall(b"\n" + waiting[0] + b">130\n"))
    ender.start()
    started = time.monotonic()
    with pytest.raises(GuestTimeout, match="waiting for 1 s for 'slow' to end; output so far: started"):
        shell.run("slow", 1.0)
    ender.join()
    assert time.monotonic() - started < 30
    assert shell.run("next", 20) == b"fine"
    assert peers[0].requests[1].startswith(b"\x03")


def test_a_failed_script_is_shown_by_its_beginning(peers: list[Peer]) -> None:
    peers.append(Peer(lambda token, command: frame(token, b"why\n", 1)))
    with pytest.raises(CommandFailed, match=r"'echo 1; .* [.]{3}' ended with status 1: why") as caught:
        ControlShell(peers[0].host, nobody_died).run("echo 1; " * 1000, 20)
    assert len(str(caught.value)) < 300
    assert len(caught.value.command) == 8000


def test_an_error_shows_the_beginning_of_a_long_script(peers: list[Peer]) -> None:
    peers.append(Peer(lambda token, command: b"\n<" + token + b"\nhalf" + READY))
    with pytest.raises(GuestRebooted, match=r"while it ran 'echo 1; .*;  [.]{3}'$") as caught:
        ControlShell(peers[0].host, nobody_died).run("echo 1; " * 1000, 20)
    assert len(str(caught.value)) < 300


def test_a_reboot_during_a_command_is_told(peers: list[Peer]) -> None:
    peers.append(Peer(lambda token, command: b"\n<" + token + b"\nhalf" + READY))
    shell = ControlShell(peers[0].host, nobody_died)
    with pytest.raises(GuestRebooted, match="while it ran"):
        shell.run("x", 20)
    assert shell.wait_ready(1) == BOOT_ID


def test_readiness(peers: list[Peer]) -> None:
    peers.append(Peer(lambda token, command: b""))
    shell = ControlShell(peers[0].host, nobody_died)
    with pytest.raises(GuestTimeout, match="booting"):
        shell.wait_ready(0.2)
    peers[0].guest.sendall(READY)
    assert shell.wait_ready(20) == BOOT_ID


def test_a_dead_qemu_ends_the_wait(peers: list[Peer]) -> None:
    def died() -> None:
        raise QemuFailed("QEMU ended with status 1")

    peers.append(Peer(lambda token, command: b""))
    with pytest.raises(QemuFailed, match="status 1"):
        ControlShell(peers[0].host, died).run("x", 20)
