# SPDX-License-Identifier: MIT
"""QEMU's example programs while they run."""

from __future__ import annotations

import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 60.0


class QemuServer:
    """QEMU's ivshmem-server; clients may connect when the context is entered."""

    def __init__(self, program: Path, socket: Path, shm_name: str, *, size: str = "1M", vectors: int = 2) -> None:
        self.socket = socket
        # In daemon mode it writes a pid file when it listens, but is no child of ours: so the socket has to tell.
        command = [str(program), "-F", "-S", str(socket), "-M", shm_name, "-l", size, "-n", str(vectors)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + PATIENCE
        while not listening(self.socket):
            assert self._process.poll() is None, "QEMU's server ended"
            assert time.monotonic() < deadline, "QEMU's server does not listen"
            time.sleep(0.01)
        return self

    def end(self) -> int:
        """Ask it to end; its exit status."""
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End it without warning; it leaves its socket and memory behind."""
        self._process.kill()
        self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            # In order, or its memory stays.
            self.end()


def listening(socket: Path) -> bool:
    """Whether a socket takes connections; without connecting, which would use up a peer id."""
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        # Num RefCount Protocol Flags Type St Inode Path: flag 0x10000 says that it listens.
        fields = line.split(maxsplit=7)
        if fields[7:] == [str(socket)] and int(fields[3], 16) & 0x10000:
            return True
    return False


class QemuClient:
    """QEMU's ivshmem-client: commands go to its standard input, and what it says after each is read back."""

    def __init__(self, program: Path, socket: Path) -> None:
        self._process = subprocess.Popen(
            [str(program), "-S", str(socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self.said = ""

    def dump(self) -> dict[int, int]:
        """How many vectors each peer has that it knows, itself included."""
        text = self.command("dump")
        counts: dict[int, int] = {}
        for line in text.splitlines():
            words = line.removeprefix("cmd> ").split()
            if words[:2] in (["our_id", "="], ["peer_id", "="]):
                peer_id = int(words[2])
                counts[peer_id] = 0
            elif words[:1] == ["vector"]:
                counts[peer_id] += 1
        return counts

    def command(self, line: str) -> str:
        """What it says until its next prompt. It writes out what it has to say at no other time."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return self._until_prompt()

    def heard(self, notification: str) -> bool:
        """Whether it has told of a notification by now."""
        self.command("dump")
        return f"receive notification from {notification}\n" in self.said

    def _until_prompt(self) -> str:
        assert self._process.stdout is not None
        deadline, text = time.monotonic() + PATIENCE, b""
        while not text.endswith(b"cmd> "):
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._process.stdout], [], [], left)[0], f"no prompt after {text!r}"
            data = self._process.stdout.read(4096)
            assert data, f"QEMU's client ended after {text!r}"
            text += data
        self.said += text.decode()
        return text.decode()

    def __enter__(self) -> Self:
        self._until_prompt()
        return self

    def kill(self) -> None:
        """Its only end: at the end of its input it spins."""
        self._process.kill()
        self._process.communicate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
