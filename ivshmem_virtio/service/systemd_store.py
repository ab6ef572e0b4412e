# SPDX-License-Identifier: MIT
"""systemd's descriptor store (sd_notify(3), FDSTORE=1) as the keeper of descriptors."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ivshmem_virtio.service.activation import STORED_PREFIX
from ivshmem_virtio.service.descriptor_store import StoreLost

BARRIER_SECONDS = 5.0


def systemd_listens() -> bool:
    """Whether a service manager started us that may keep descriptors. Whether it will, nothing tells."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


class SystemdStore:
    """The store of the unit we run in. FileDescriptorStoreMax= must be set there, or everything is dropped silently."""

    def __init__(self, stored: Iterable[str] = ()) -> None:
        """``stored``: names of what it holds already."""
        self._names = set(stored)

    def put(self, files: Mapping[str, int]) -> None:
        for name, number in files.items():
            # Without FDPOLL=0 a socket or process that ends is dropped, and its end would never be seen.
            self._notify(f"FDSTORE=1\nFDPOLL=0\nFDNAME={STORED_PREFIX}{name}", [number])
            self._names.add(name)
        if files:
            self._barrier()

    def drop(self, names: Iterable[str]) -> None:
        for name in list(names):
            self._notify(f"FDSTOREREMOVE=1\nFDNAME={STORED_PREFIX}{name}")
            self._names.discard(name)

    def end(self) -> None:
        with suppress(StoreLost):
            self.drop(self._names)

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        return None

    def _barrier(self) -> None:
        """Wait until systemd has taken in what it was sent: it asks the kernel which process that came from."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            self._notify("BARRIER=1", [writer])
        finally:
            os.close(writer)
        poll = select.poll()
        poll.register(reader, 0)
        answered = poll.poll(BARRIER_SECONDS * 1000)
        os.close(reader)
        if not answered:
            raise StoreLost("systemd does not take in descriptors: no answer to BARRIER=1")

    @staticmethod
    def _notify(text: str, descriptors: Iterable[int] = ()) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.connect(address)
                socket.send_fds(sender, [text.encode()], list(descriptors))
        except OSError as error:
            raise StoreLost(f"systemd cannot be told: {error.strerror}") from error
