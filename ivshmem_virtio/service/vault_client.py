# SPDX-License-Identifier: MIT
"""A vault as keepers see it: started, looked into, taken over, filled."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

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

    def __init__(self, stream: socket.socket) -> None:
        self._channel = Channel(stream, VAULT_VERSION)
        self._channel.settimeout(ANSWER_SECONDS)

    @classmethod
    def start(cls, path: Path) -> VaultClient:
        """A new vault at ``path``, whose keeper we are. Raises what Listener raises, OSError and StoreLost."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with listen_at(path, VAULT_MODE, None, socket.SOCK_SEQPACKET) as listener, far:
            command = [sys.executable, "-m", VAULT_MODULE]
            command += ["--listener", str(listener.fileno()), "--keeper", str(far.fileno()), str(path)]
            # A session of its own: what ends the keeper's process group, or its terminal, does not end the vault.
            status = subprocess.run(
                command,
                pass_fds=[listener.fileno(), far.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=False,
            ).returncode
        if status != 0:
            near.close()
            raise StoreLost(f"the vault's process ended with status {status} as soon as it was started")
        return cls(near)

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
            message, descriptors = self._answer()
            contents.files |= dict(zip(message["names"], descriptors, strict=True))
            more = message["more"]
        return contents

    def take(self, seconds: float) -> bool:
        """Become the keeper as soon as there is none; whether that came to be in time. Raises StoreLost.

        One that was too late is still in the queue: ``granted`` waits on, ``close`` gives up.
        """
        try:
            self._channel.send("take")
        except OSError as error:
            raise StoreLost(f"the vault is gone: {error.strerror or error}") from error
        return self.granted(seconds)

    def granted(self, seconds: float) -> bool:
        """Wait for what ``take`` has asked for; raises StoreLost."""
        self._channel.settimeout(seconds)
        try:
            return self._answer() is not None
        except StoreLost as error:
            if isinstance(error.__cause__, TimeoutError):
                return False
            raise
        finally:
            self._channel.settimeout(ANSWER_SECONDS)

    def put(self, files: Mapping[str, int]) -> None:
        entries = iter(files.items())
        while part := list(islice(entries, FILES_AT_ONCE)):
            self._ask("put", {"names": [name for name, _ in part]}, [number for _, number in part])

    def drop(self, names: Iterable[str]) -> None:
        entries = iter(names)
        while part := list(islice(entries, FILES_AT_ONCE)):
            self._ask("drop", {"names": part})

    def end(self) -> None:
        with suppress(StoreLost, ChannelError, OSError):
            _, (process,) = self._ask("end")
            poll = select.poll()
            poll.register(process, select.POLLIN)
            poll.poll(ANSWER_SECONDS * 1000)
            os.close(process)
        self.close()

    def fileno(self) -> int | None:
        return self._channel.fileno()

    def close(self) -> None:
        self._channel.close()

    def _ask(
        self, kind: str, body: Message | None = None, descriptors: list[int] | None = None
    ) -> tuple[Message, list[int]]:
        try:
            self._channel.send(kind, body, descriptors)
        except OSError as error:
            raise StoreLost(f"the vault is gone: {error.strerror or error}") from error
        return self._answer()

    def _answer(self) -> tuple[Message, list[int]]:
        try:
            received = self._channel.receive()
        except OSError as error:
            raise StoreLost(f"the vault does not answer: {error.strerror or error}") from error
        if received is None:
            raise StoreLost("the vault is gone")
        return received
