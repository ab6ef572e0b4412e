# SPDX-License-Identifier: MIT
"""From an ivshmem server's socket to the front-end's end of one of its links."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ivshmem_virtio.link.directory import read_directory
from ivshmem_virtio.link.directory_errors import DirectoryAbsent
from ivshmem_virtio.link.layout import FRONTEND, LinkLayout
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.errors import ServerSilent
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.transport.driver_errors import (
    BackendAbsent,
    LinkAmbiguous,
    LinkMissing,
    LinkTaken,
)

LOOK_AGAIN_SECONDS = 0.1


class FrontendPeer:
    """A front-end that is a peer of its own on a server's socket. ``seconds`` bounds every wait."""

    def __init__(self, client: IvshmemClient, seconds: float) -> None:
        self.client = client
        self._seconds = seconds

    def links(self) -> list[LinkLayout]:
        """What the directory lists; waits for one to appear. Raises a DirectoryError."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return read_directory(self.client.memory)
            except DirectoryAbsent:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(LOOK_AGAIN_SECONDS)

    def attach(self, layout: LinkLayout, *, force: bool = False) -> V1Link:
        """The front-end's end of a link, once its back-end's peer is there.

        Raises BackendAbsent, and LinkTaken where a front-end is on the link already, unless ``force`` is given.
        """
        self._await_peer(layout)
        link = V1Link.map(
            self.client.memory,
            layout,
            FRONTEND,
            self.client.own_vectors,
            self.client.ringer(layout.backend_peer),
            lambda peer_id: peer_id == layout.backend_peer,
        )
        state = link.own_state()
        if state and not force:
            link.close()
            raise LinkTaken(
                f"link {layout.name!r}: its front-end state is {state}, so another front-end is using it; stop that "
                "first, or use --force if it is gone for good"
            )
        return link

    def _await_peer(self, layout: LinkLayout) -> None:
        # A peer that is front-end and back-end at once (one region, two of our own) needs no announcement.
        if layout.backend_peer == self.client.peer_id:
            return
        try:
            self.client.wait_for_peer(layout.backend_peer, self._seconds)
        except ServerSilent:
            raise BackendAbsent(
                f"link {layout.name!r}: its back-end, peer {layout.backend_peer}, is not on this server"
            ) from None


@contextmanager
def frontend_peer(socket: Path, seconds: float) -> Iterator[FrontendPeer]:
    """Join the server at ``socket``; raises a PeerError."""
    with IvshmemClient.attach(socket, timeout=seconds) as client:
        yield FrontendPeer(client, seconds)


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
