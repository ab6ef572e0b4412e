# SPDX-License-Identifier: MIT
"""A back-end process: serves the links its keeper attaches it to, and knows nothing of sockets, directories or QEMU."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from functools import partial
from threading import Event, Thread
from types import FrameType

from ivshmem_virtio.devices.net_switch import Switch
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.layout import BACKEND, LinkLayout
from ivshmem_virtio.peer.doorbells import Doorbells
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.service.attachment import Attachment, Descriptors
from ivshmem_virtio.service.channel import Channel, Message
from ivshmem_virtio.service.fan_out import FanOut
from ivshmem_virtio.service.log import configure_logging
from ivshmem_virtio.service.served_guest import ServedGuest
from ivshmem_virtio.service.worker import Worker

HEARTBEAT_SECONDS = 0.5

log = logging.getLogger("ivshmem_virtio.backend")


class Backend:
    """Everything one back-end process serves. ``run`` returns when the keeper says stop or is gone."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._worker = Worker("devices")
        self._switches: dict[str, Switch] = {}
        self._guests: dict[str, ServedGuest] = {}
        self._stopping = Event()
        self._heart = Thread(target=self._beat, name="heartbeat", daemon=True)

    def run(self) -> None:
        self._heart.start()
        try:
            self._channel.send("hello", {"pid": os.getpid()})
            while (received := self._channel.receive()) is not None:
                message, descriptors = received
                if message["type"] == "stop":
                    break
                self._attach(message, descriptors)
        finally:
            self._stop()

    def _attach(self, message: Message, descriptors: list[int]) -> None:
        attachment = Attachment.of(message)
        try:
            files = Descriptors.of(descriptors)
            fan_out = self._worker.call(
                partial(FanOut, self._worker.loop, files.own, [link.layout for link in attachment.links])
            )
            make_link = partial(self._make_link, files, fan_out, attachment.frontend_peer)
            self._guests[attachment.guest] = ServedGuest(attachment, make_link, self._worker, self._switches)
        except (IvshmemVirtioError, OSError) as error:
            self._channel.send("failed", {"guest": attachment.guest, "error": str(error)})
            return
        # Every slice is mapped by now; the region as a whole stays out of reach of this process.
        os.close(files.region)
        self._channel.send("ready", {"guest": attachment.guest})

    def _make_link(self, files: Descriptors, fan_out: FanOut, frontend_peer: int, layout: LinkLayout) -> Link:
        return V1Link.map(
            files.region,
            layout,
            BACKEND,
            own_vectors=self._worker.call(partial(fan_out.doorbells, layout)),
            other=Doorbells(files.frontend),
            other_peer_is=lambda claimed: claimed == frontend_peer,
        )

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            for guest in list(self._guests.values()):
                guest.beat()

    def _stop(self) -> None:
        self._stopping.set()
        self._heart.join()
        for guest in self._guests.values():
            guest.stop()
        self._worker.stop()


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
