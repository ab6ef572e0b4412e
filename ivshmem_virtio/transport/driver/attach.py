# SPDX-License-Identifier: MIT
"""Where a front-end in user space gets its links from: an ivshmem server's socket, or the PCI function of a guest."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ivshmem_virtio.link.directory import read_directory
from ivshmem_virtio.link.directory_errors import DirectoryAbsent
from ivshmem_virtio.link.layout import FRONTEND, LinkLayout
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.errors import ServerSilent
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.peer.pci import PciFunction, the_function
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.transport.driver.errors import BackendAbsent, LinkAmbiguous, LinkMissing, LinkTaken

LOOK_AGAIN_SECONDS = 0.1


class FrontendPeer(ABC):
    """One peer of a region, as a front-end uses it. ``seconds`` bounds every wait."""

    peer_id: int
    """Own ivshmem peer id."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def links(self) -> list[LinkLayout]:
        """What the directory lists; waits for one to appear. Raises a DirectoryError."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return self._read_directory()
            except DirectoryAbsent:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(LOOK_AGAIN_SECONDS)

    def attach(self, layout: LinkLayout, *, force: bool = False) -> Link:
        """The front-end's end of a link.

        Raises BackendAbsent, and LinkTaken where a front-end is on the link already, unless ``force`` is given.
        """
        link = self._map(layout)
        state = link.own_state()
        if state and not force:
            link.close()
            raise LinkTaken(
                f"link {layout.name!r}: its front-end state is {state}, so another front-end is using it; stop that "
                "first, or use --force if it is gone for good"
            )
        return link

    @abstractmethod
    def _read_directory(self) -> list[LinkLayout]:
        """The links in use; raises DirectoryAbsent while there is no directory."""

    @abstractmethod
    def _map(self, layout: LinkLayout) -> Link:
        """The front-end's end of a link."""


class ServerPeer(FrontendPeer):
    """A peer of its own on a server's socket."""

    def __init__(self, client: IvshmemClient, seconds: float) -> None:
        super().__init__(seconds)
        self._client = client
        self.peer_id = client.peer_id

    def _read_directory(self) -> list[LinkLayout]:
        return read_directory(self._client.memory)

    def _map(self, layout: LinkLayout) -> Link:
        client, backend = self._client, layout.backend_peer
        try:
            client.wait_for_peer(backend, self._seconds)
        except ServerSilent:
            raise BackendAbsent(f"link {layout.name!r}: its back-end, peer {backend}, is not on this server") from None
        return V1Link.map(
            client.memory, layout, FRONTEND, client.own_vectors, client.ringer(backend), lambda peer: peer == backend
        )


class PciPeer(FrontendPeer):
    """The ivshmem function of the machine this runs in, without a kernel driver; links are looked at on a timer."""

    def __init__(self, function: PciFunction, seconds: float) -> None:
        super().__init__(seconds)
        self._function = function
        self.peer_id = function.peer_id

    def _read_directory(self) -> list[LinkLayout]:
        return self._function.layouts()

    def _map(self, layout: LinkLayout) -> Link:
        return self._function.link(layout)


@contextmanager
def server_peer(socket: Path, seconds: float) -> Iterator[FrontendPeer]:
    """Join the server at ``socket``; raises a PeerError."""
    with IvshmemClient.attach(socket, timeout=seconds) as client:
        yield ServerPeer(client, seconds)


@contextmanager
def pci_peer(address: str | None, seconds: float) -> Iterator[FrontendPeer]:
    """Use the ivshmem function at ``address``, or the only one; raises a PciError."""
    with PciFunction(the_function(address)) as function:
        yield PciPeer(function, seconds)


def choose_link(links: Sequence[LinkLayout], wanted: str | None, device_id: int | None = None) -> LinkLayout:
    """The link of that name or number; without either, the only one (of that device id).

    Raises LinkMissing, LinkAmbiguous.
    """
    names = ", ".join(link.name for link in links) or "none"
    if wanted is not None:
        for number, link in enumerate(links):
            if wanted in (link.name, str(number)):
                return link
        raise LinkMissing(f"no link {wanted!r}: the directory lists {names}")
    fitting = [link for link in links if device_id in (None, link.device_id)]
    if not fitting:
        raise LinkMissing(f"no link carries a device of this type: the directory lists {names}")
    if len(fitting) > 1:
        raise LinkAmbiguous(f"several links fit, choose one with --link: {', '.join(link.name for link in fitting)}")
    return fitting[0]
