# SPDX-License-Identifier: MIT
"""The vault: a process that does nothing but hold descriptors, so that a killed keeper's successor can go on.

It reads none of them, takes them from nobody but the keeper, and shows them to no back-end.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
from itertools import islice
from pathlib import Path

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.peer.listener import still_ours
from ivshmem_virtio.service.channel import Channel, Message, close_all
from ivshmem_virtio.service.vault_protocol import ANSWER_SECONDS, FILES_AT_ONCE, VAULT_VERSION, credentials

MOST_VISITORS = 16


class Visitor:
    """Somebody who is connected."""

    def __init__(self, stream: socket.socket) -> None:
        self.pid, self.user = credentials(stream)
        self.channel = Channel(stream, VAULT_VERSION)
        # Nobody who does not read may keep the others waiting for long.
        self.channel.settimeout(ANSWER_SECONDS)
        try:
            self.pidfd: int | None = os.pidfd_open(self.pid)
        except OSError:
            self.pidfd = None

    def close(self) -> None:
        self.channel.close()
        if self.pidfd is not None:
            os.close(self.pidfd)


class Vault:
    """Holds descriptors by name; ``run`` returns when the keeper says that the service is over."""

    def __init__(self, listener: socket.socket, path: Path, keeper: socket.socket) -> None:
        self._listener = listener
        self._path = path
        self._inode = os.stat(path).st_ino
        self._files: dict[str, int] = {}
        self._visitors: dict[int, Visitor] = {}
        self._keeper: Visitor | None = self._admit(keeper)
        self._waiting: list[Visitor] = []
        self._over = False

    def run(self) -> None:
        while not self._over:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            for number in self._visitors:
                poll.register(number, select.POLLIN)
            for number, _ in poll.poll():
                if number == self._listener.fileno():
                    self._accept()
                elif number in self._visitors:
                    self._serve(self._visitors[number])
        if still_ours(self._path, self._inode):
            os.unlink(self._path)

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:
            # Gone again, or no descriptor left for it: then it waits for somebody to leave.
            return
        _, user = credentials(stream)
        if user != os.geteuid() or len(self._visitors) >= MOST_VISITORS:
            stream.close()
        else:
            self._admit(stream)

    def _admit(self, stream: socket.socket) -> Visitor:
        visitor = Visitor(stream)
        self._visitors[visitor.channel.fileno()] = visitor
        return visitor

    def _serve(self, visitor: Visitor) -> None:
        try:
            received = visitor.channel.receive()
            if received is None:
                self._dismiss(visitor)
                return
            message, descriptors = received
            if visitor is not self._keeper and self._is_ward(visitor.pid):
                close_all(descriptors)
                self._dismiss(visitor)
                return
            if message["type"] == "put" and visitor is self._keeper:
                self._put(message["names"], descriptors)
                visitor.channel.send("done")
                return
            close_all(descriptors)
            self._answer(visitor, message)
        except (OSError, ValueError, KeyError, TypeError, IvshmemVirtioError):
            # A visitor that does not speak as it must, or does not listen, is no visitor. A keeper that is not
            # understood, or whose descriptors do not fit in here, is better off with another vault.
            self._over = visitor is self._keeper
            self._dismiss(visitor)

    def _is_ward(self, pid: int) -> bool:
        """Whether a process is one that the keeper watches over: a back-end, which may be in the hands of a guest.

        Back-ends cannot start processes, so this is who it says.
        """
        return any(pid_of(number) == pid for number in self._files.values())

    def _answer(self, visitor: Visitor, message: Message) -> None:
        kind = message["type"]
        if kind == "look":
            self._show(visitor)
        elif kind == "take":
            self._waiting.append(visitor)
            self._grant()
        elif visitor is not self._keeper:
            self._dismiss(visitor)
        elif kind == "drop":
            for name in message["names"]:
                self._drop(name)
            visitor.channel.send("done")
        elif kind == "end":
            self._over = True
            visitor.channel.send("done", descriptors=[os.pidfd_open(os.getpid())])

    def _put(self, names: list[str], descriptors: list[int]) -> None:
        for name, descriptor in zip(names, descriptors, strict=True):
            self._drop(name)
            self._files[name] = descriptor

    def _drop(self, name: str) -> None:
        if name in self._files:
            os.close(self._files.pop(name))

    def _show(self, visitor: Visitor) -> None:
        keeper = self._keeper
        pidfd = [keeper.pidfd] if keeper is not None and keeper.pidfd is not None else []
        visitor.channel.send("keeper", {"pid": keeper.pid if keeper is not None else None}, pidfd)
        entries = iter(list(self._files.items()))
        left = len(self._files)
        while left or not self._files:
            part = list(islice(entries, FILES_AT_ONCE))
            left -= len(part)
            visitor.channel.send(
                "files", {"names": [name for name, _ in part], "more": left > 0}, [number for _, number in part]
            )
            if not left:
                return

    def _dismiss(self, visitor: Visitor) -> None:
        self._visitors.pop(visitor.channel.fileno(), None)
        if visitor in self._waiting:
            self._waiting.remove(visitor)
        visitor.close()
        if visitor is self._keeper:
            self._keeper = None
            # Where another vault has the path, nobody will ever look here.
            self._over = self._over or not still_ours(self._path, self._inode)
            self._grant()

    def _grant(self) -> None:
        """The first who waits is the keeper, if there is none."""
        if self._keeper is None and self._waiting:
            self._keeper = self._waiting.pop(0)
            self._keeper.channel.send("granted")


def pid_of(descriptor: int) -> int | None:
    """The process that a pidfd is about, None for every other file (proc_pid_fdinfo(5))."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), None)


def main() -> None:
    """Entry point of the process that the keeper starts: ``--listener FD --keeper FD PATH``."""
    parser = argparse.ArgumentParser(prog="ivshmem-virtio-vault", description="started by the keeper")
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--keeper", type=int, required=True)
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Nobody's child, so nobody has to wait for its end. Whoever started it waits for this.
    if os.fork():
        os._exit(0)
    listener = socket.socket(fileno=arguments.listener)
    Vault(listener, arguments.path, socket.socket(fileno=arguments.keeper)).run()


if __name__ == "__main__":
    main()
