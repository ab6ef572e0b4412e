# SPDX-License-Identifier: MIT
"""A back-end process as its keeper sees it: started, told what to serve, started again when it dies."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.attachment import Attachment, Descriptors
from ivshmem_virtio.service.channel import Channel, Message

SHORT_LIFE_SECONDS = 2.0
"""A back-end that dies younger than this is started again with a growing delay."""
LONGEST_DELAY_SECONDS = 5.0
STOP_SECONDS = 10.0


class BackendFailed(IvshmemVirtioError):
    """A back-end could not serve what it was told to; the message is its own."""


class BackendProcess:
    """One back-end and its attachments, by guest. ``on_death`` runs before each new start.

    The first start of an attachment either succeeds or raises BackendFailed; later ones are tried until they do.
    """

    def __init__(self, name: str, on_death: Callable[[], None], *, verbose: bool) -> None:
        self.name = name
        self._on_death = on_death
        self._verbose = verbose
        self._log = logging.getLogger(f"ivshmem_virtio.keeper.{name}")
        self._attached: dict[str, tuple[Attachment, Descriptors]] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._born = 0.0
        self._delay = 0.0
        self._stopping = False
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process and tell it everything it is to serve."""
        near, far = Channel.pair()
        far.set_inheritable(True)
        command = [sys.executable, "-m", "ivshmem_virtio.service.backend", "--channel", str(far.fileno())]
        with far:
            # The terminal goes along: a console may be on it (via = "stdio").
            self._process = subprocess.Popen(command + ["--verbose"] * self._verbose, pass_fds=[far.fileno()])
        self._channel = near
        self._born = time.monotonic()
        asyncio.get_running_loop().add_reader(near.fileno(), self._receive)
        for attachment, descriptors in self._attached.values():
            self._send(attachment, descriptors)

    async def attach(self, attachment: Attachment, descriptors: Descriptors) -> None:
        """Have one more guest served; returns when it is. Raises BackendFailed."""
        self._attached[attachment.guest] = (attachment, descriptors)
        self._waiting[attachment.guest] = asyncio.get_running_loop().create_future()
        self._send(attachment, descriptors)
        try:
            await self._waiting[attachment.guest]
        except BackendFailed:
            del self._attached[attachment.guest]
            raise
        finally:
            del self._waiting[attachment.guest]

    async def stop(self) -> None:
        """Have it stop, and wait until it has."""
        self._stopping = True
        if self._process is None or self._channel is None:
            return
        try:
            self._channel.send("stop")
            await asyncio.wait_for(self._gone.wait(), STOP_SECONDS)
        except (OSError, TimeoutError):
            self._process.kill()
        self._process.wait()

    def _send(self, attachment: Attachment, descriptors: Descriptors) -> None:
        assert self._channel is not None
        try:
            self._channel.send("attach", attachment.message(), descriptors.flat())
        except OSError as error:
            # It died meanwhile: its end of the channel says so too, and the next start sends this again.
            self._log.debug("attach %s: %s", attachment.guest, error)

    def _receive(self) -> None:
        assert self._channel is not None
        try:
            received = self._channel.receive()
        except (OSError, IvshmemVirtioError) as error:
            self._log.error("channel: %s", error)
            received = None
        if received is None:
            self._died()
        else:
            self._handle(received[0])

    def _handle(self, message: Message) -> None:
        waiting = self._waiting.get(message.get("guest", ""))
        if message["type"] == "failed":
            self._log.error("%s: %s", message["guest"], message["error"])
            if waiting is not None and not waiting.done():
                waiting.set_exception(BackendFailed(f"guest {message['guest']}: {message['error']}"))
        elif message["type"] == "ready" and waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _died(self) -> None:
        assert self._channel is not None
        assert self._process is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel.fileno())
        self._channel.close()
        status = self._process.wait()
        self._on_death()
        if self._stopping:
            self._gone.set()
            return
        young = time.monotonic() - self._born < SHORT_LIFE_SECONDS
        self._delay = min(2 * self._delay or 0.1, LONGEST_DELAY_SECONDS) if young else 0.0
        self._log.error("back-end died with status %d; started again in %.1f s", status, self._delay)
        loop.call_later(self._delay, self._restart)

    def _restart(self) -> None:
        if not self._stopping:
            self.start()
