# SPDX-License-Identifier: MIT
"""A back-end process: serves the links its keeper attaches it to; knows nothing of sockets, directories or QEMU."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from types import FrameType

from ivshmem_virtio.devices.resource import Access, Resource
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.layout import BACKEND, LinkLayout
from ivshmem_virtio.peer.doorbells import Doorbells
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.service.attachment import Attachment, Descriptors
from ivshmem_virtio.service.channel import Channel, Message
from ivshmem_virtio.service.confinement import Rights, confine
from ivshmem_virtio.service.device_host import DeviceHost
from ivshmem_virtio.service.log import configure_logging
from ivshmem_virtio.service.served_guest import ServedGuest


class Backend:
    """The keeper's orders, carried out. ``run`` returns when the keeper says stop, or nobody is left who could.

    A keeper that is killed leaves its end of the channel to its successor (vault.py): serving goes on without a pause.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._host: DeviceHost | None = None
        self._guests: list[str] = []

    def run(self) -> None:
        try:
            self._channel.send("hello", {"pid": os.getpid()})
            while (received := self._channel.receive()) is not None:
                message, descriptors = received
                if message["type"] == "stop":
                    break
                if message["type"] == "which":
                    self._channel.send("serving", {"guests": self._guests})
                else:
                    self._attach(message, descriptors)
        finally:
            if self._host is not None:
                self._host.stop()

    def _attach(self, message: Message, descriptors: list[int]) -> None:
        attachment = Attachment.of(message)
        files = Descriptors.of(descriptors)
        if self._host is None:
            self._host = DeviceHost(partial(confine_for, attachment) if attachment.confined else None)
        try:
            make = partial(make_link, files, attachment.frontend_peer)
            guest = self._host.add(attachment, files.own, make, files.state)
        except (IvshmemVirtioError, OSError) as error:
            self._channel.send("failed", {"guest": attachment.guest, "error": str(error)})
        else:
            self._guests.append(attachment.guest)
            self._channel.send("ready", {"guest": attachment.guest})
            Thread(target=self._tell_served, args=(guest, attachment.guest), daemon=True).start()
        # Every slice is mapped by now; the region as a whole stays out of reach of this process.
        os.close(files.region)
        os.close(files.state)

    def _tell_served(self, guest: ServedGuest, name: str) -> None:
        """When every device is back, say so; by then this process may have been told to stop."""
        if guest.wait_served():
            with suppress(OSError):
                self._channel.send("served", {"guest": name})


def confine_for(attachment: Attachment, resources: Sequence[Resource]) -> Rights:
    """Give up everything but what these devices need, and the folder of the status file."""
    trace = [Resource(attachment.trace_file, Access.CREATE)] if attachment.trace_file is not None else []
    return confine([*resources, *trace], [Path(attachment.status_file).parent])


def make_link(files: Descriptors, frontend_peer: int, layout: LinkLayout, own_vectors: Sequence[int]) -> Link:
    """A link whose guest is the peer that the keeper says it is."""
    return V1Link.map(
        files.region,
        layout,
        BACKEND,
        own_vectors=own_vectors,
        other=Doorbells(files.frontend),
        other_peer_is=lambda claimed: claimed == frontend_peer,
    )


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    """Entry point of the process the keeper starts: ``--channel FD``."""
    parser = argparse.ArgumentParser(prog="ivshmem-virtio-backend", description="started by the keeper")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    configure_logging(arguments.verbose)
    signal.signal(signal.SIGTERM, _terminate)
    # A terminal sends ^C to the whole process group; stopping is the keeper's to order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Backend(Channel(socket.socket(fileno=arguments.channel))).run()


if __name__ == "__main__":
    main()
