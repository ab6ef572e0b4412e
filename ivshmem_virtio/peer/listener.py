# SPDX-License-Identifier: MIT
"""Listening unix sockets: left-over files replaced, living ones respected, removed at the end."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.peer.errors import SocketInUse, SocketNotCreated, SocketPathTaken, SocketPathTooLong

LONGEST_PATH = 107
BACKLOG = 16
PAUSE_SECONDS = 1.0


class Listener:
    """A listening socket at a path, which hands each connection to ``accepted``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: Path,
        accepted: Callable[[socket.socket], None],
        trouble: Callable[[str], None],
        *,
        mode: int = 0o600,
        owner: Owner | None = None,
        inherited: socket.socket | None = None,
        inode: int | None = None,
    ) -> None:
        """Takes ``inherited``, a socket that listens at ``path`` already, or makes one.

        The path of an inherited socket belongs to who made it and outlives us, unless ``inode`` says that we did.
        Raises SocketInUse, SocketPathTaken, SocketPathTooLong and SocketNotCreated.
        """
        self.path = path
        self._loop = loop
        self._accepted = accepted
        self._trouble = trouble
        self._socket = inherited or listen_at(path, mode, owner)
        self._socket.setblocking(False)
        self.inode = inode if inherited is not None else os.stat(path).st_ino
        self._closed = False
        loop.add_reader(self._socket, self._accept)

    def fileno(self) -> int:
        return self._socket.fileno()

    def _accept(self) -> None:
        try:
            stream, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors, say: the connection stays in the backlog, and would wake us again at once.
            self._trouble(f"cannot accept on {self.path}: {error.strerror}; trying again in {PAUSE_SECONDS:g} s")
            self._loop.remove_reader(self._socket)
            self._loop.call_later(PAUSE_SECONDS, self._resume)
            return
        stream.setblocking(False)
        self._accepted(stream)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._accept)

    def let_go(self) -> None:
        """Accept nobody any more; whoever has a duplicate of the socket goes on."""
        self._closed = True
        self._loop.remove_reader(self._socket)

    def close(self) -> None:
        """Stop listening, and remove the path unless somebody else's socket has it by now."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self.inode is not None and still_ours(self.path, self.inode):
            with suppress(OSError):
                os.unlink(self.path)


def still_ours(path: Path, inode: int) -> bool:
    """Whether a path leads to the socket that was made there."""
    try:
        return os.stat(path).st_ino == inode
    except OSError:
        return False


def listen_at(
    path: Path, mode: int, owner: Owner | None, kind: socket.SocketKind = socket.SOCK_STREAM
) -> socket.socket:
    """A non-blocking listening socket. Mode and owner are right before the first client can connect."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise SocketPathTooLong(f"socket path {str(path)!r} is longer than {LONGEST_PATH} bytes; use a shorter one")
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    try:
        listener.bind(os.fspath(path))
        os.chmod(path, mode)
        if owner is not None:
            os.chown(path, owner.user, owner.group)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SocketNotCreated(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; raises SocketInUse and SocketPathTaken."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketNotCreated(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(kind):
        raise SocketPathTaken(f"{path} exists and is no socket; remove it or choose another path")
    if somebody_listens(path):
        raise SocketInUse(f"{path} is in use: another server listens there; end it or choose another path")
    with suppress(FileNotFoundError):
        os.unlink(path)


def somebody_listens(path: Path) -> bool:
    """Whether a living socket has this path.

    Asked with a datagram socket: a stream socket refuses that for its type (EPROTOTYPE) without noticing anything, so
    a living server does not see a client come and go.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
