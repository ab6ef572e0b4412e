# SPDX-License-Identifier: MIT
"""A vault as keepers see it: started, looked into, taken over, filled."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.peer.listener import listen_at
from ivshmem_virtio.service.channel import Channel, ChannelError, Message
from ivshmem_virtio.service.descriptor_store import StoreLost
from ivshmem_virtio.service.vault_protocol import ANSWER_SECONDS, FILES_AT_ONCE, VAULT_VERSION, credentials

VAULT_MODULE = "ivshmem_virtio.service.vault"
VAULT_MODE = 0o600


@dataclass
class Contents:
    """What a vault holds, as it was when asked, and who keeps it (None: nobody). Owns its descriptors."""

    keeper: int | None
    keeper_pidfd: int | None
    files: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """Close what was not taken out of ``files``."""
        for number in self.files.values():
            os.close(number)
        self.files.clear()
        if self.keeper_pidfd is not None:
            os.close(self.keeper_pidfd)
            self.keeper_pidfd = None


class VaultClient:
    """A connection to a vault. As the keeper's it is a DescriptorStore."""

    def __init__(self, stream: socket.socket, child: subprocess.Popen[bytes] | None = None) -> None:
        self._channel = Channel(stream, VAULT_VERSION)
        self._channel.settimeout(ANSWER_SECONDS)
        self._child = child

    @classmethod
    def start(cls, path: Path) -> VaultClient:
        """A new vault at ``path``, whose keeper we are. Raises what Listener raises, and OSError."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with listen_at(path, VAULT_MODE, None, socket.SOCK_SEQPACKET) as listener, far:
            command = [sys.executable, "-m", VAULT_MODULE]
            command += ["--listener", str(listener.fileno()), "--keeper", str(far.fileno()), str(path)]
            # A session of its own: what ends the keeper's process group, or its terminal, does not end the vault.
            child = subprocess.Popen(
                command,
                pass_fds=[listener.fileno(), far.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return cls(near, child)

    @classmethod
    def connect(cls, path: Path) -> VaultClient | None:
        """The vault at ``path``; None where there is none, or one of another user."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            stream.connect(os.fspath(path))
            _, user = credentials(stream)
        except OSError:
            stream.close()
            return None
        if user != os.geteuid():
            stream.close()
            return None
        return cls(stream)

    def look(self) -> Contents:
        """Duplicates of everything it holds; raises StoreLost and ChannelError (it speaks another version)."""
        message, descriptors = self._ask("look")
        contents = Contents(message["pid"], descriptors[0] if descriptors else None)
        more = True
        while more:
            message, descriptors = self._receive()
            contents.files |= dict(zip(message["names"], descriptors, strict=True))
            more = message["more"]
        return contents

    def take(self, seconds: float) -> bool:
        """Become the keeper as soon as there is none; whether that came to be in time. Raises StoreLost."""
        self._channel.settimeout(seconds)
        try:
            self._channel.send("take")
            received = self._channel.receive()
        except TimeoutError:
            return False
        except OSError as error:
            raise StoreLost(f"the vault is gone: {error.strerror}") from error
        finally:
            self._channel.settimeout(ANSWER_SECONDS)
        if received is None:
            raise StoreLost("the vault is gone")
        return True

    def put(self, files: Mapping[str, int]) -> None:
        entries = iter(files.items())
        while part := list(islice(entries, FILES_AT_ONCE)):
            self._ask("put", {"names": [name for name, _ in part]}, [number for _, number in part])

    def drop(self, names: Iterable[str]) -> None:
        entries = iter(names)
        while part := list(islice(entries, FILES_AT_ONCE)):
            self._ask("drop", {"names": part})

    def end(self) -> None:
        with suppress(StoreLost, ChannelError, OSError, subprocess.TimeoutExpired):
            self._ask("end")
            # It closes the connection when it ends.
            self._channel.receive()
            if self._child is not None:
                self._child.wait(ANSWER_SECONDS)
        self.close()

    def fileno(self) -> int | None:
        return self._channel.fileno()

    def close(self) -> None:
        self._channel.close()
        if self._child is not None:
            # Where it goes on, it will be somebody else's to wait for.
            self._child.poll()

    def _ask(
        self, kind: str, body: Message | None = None, descriptors: list[int] | None = None
    ) -> tuple[Message, list[int]]:
        try:
            self._channel.send(kind, body, descriptors)
        except OSError as error:
            raise StoreLost(f"the vault is gone: {error.strerror or error}") from error
        return self._receive()

    def _receive(self) -> tuple[Message, list[int]]:
        try:
            received = self._channel.receive()
        except ChannelError:
            raise
        except (OSError, ValueError, IvshmemVirtioError) as error:
            raise StoreLost(f"the vault does not answer: {error}") from error
        if received is None:
            raise StoreLost("the vault is gone")
        return received
