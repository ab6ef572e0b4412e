# SPDX-License-Identifier: MIT
"""A back-end as its keeper sees it: started, told what to serve, started again when it dies, replaced on demand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.attachment import Attachment, Descriptors
from ivshmem_virtio.service.backend_run import BackendRun
from ivshmem_virtio.service.backend_word import Word, word_of
from ivshmem_virtio.service.channel import Message, close_all

SHORT_LIFE_SECONDS = 2.0
"""A back-end that dies younger than this is started again with a growing delay."""
LONGEST_DELAY_SECONDS = 5.0
STOP_SECONDS = 10.0
HELLO_SECONDS = 30.0
SERVED_SECONDS = 30.0
"""How long a renewed back-end may take until its devices are at work, before nobody waits for that any more."""


class BackendFailed(IvshmemVirtioError):
    """A back-end could not serve what it was told to; the message is its own."""


def nobody() -> None:
    """Nobody needs to be told."""


class BackendProcess:
    """One back-end and its attachments, by guest. ``on_death`` runs before each new start.

    The first start of an attachment either succeeds or raises BackendFailed; later ones are tried until they do.
    ``on_change`` is told of everything that a later keeper has to know, before it has consequences.
    """

    def __init__(
        self, name: str, on_death: Callable[[], None], *, verbose: bool, on_change: Callable[[], None] = nobody
    ) -> None:
        self.name = name
        self._on_death = on_death
        self._on_change = on_change
        self._verbose = verbose
        self._log = logging.getLogger(f"ivshmem_virtio.keeper.{name}")
        self._attached: dict[str, tuple[Attachment, Descriptors]] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._renewing: dict[str, asyncio.Future[None]] = {}
        self._run: BackendRun | None = None
        self._latest: int | None = None
        self._successor: BackendRun | None = None
        self._restart_timer: asyncio.TimerHandle | None = None
        self._born = 0.0
        self._delay = 0.0
        self._stopping = False
        self._gone = asyncio.Event()

    @property
    def run(self) -> BackendRun | None:
        """The process, while there is one."""
        return self._run

    @property
    def pid(self) -> int | None:
        """Process id of the latest process, None before the first."""
        return self._latest

    @property
    def attachments(self) -> list[Attachment]:
        """What it serves, or is to serve."""
        return [attachment for attachment, _ in self._attached.values()]

    def start(self) -> None:
        """Start the process and tell it everything it is to serve."""
        self._use(BackendRun.start(verbose=self._verbose))

    def adopt(self, run: BackendRun | None, attached: dict[str, tuple[Attachment, Descriptors]]) -> None:
        """Go on with an earlier keeper's process: it is asked what it serves, and told what is missing.

        Without one, or where it has ended meanwhile, a new one is started.
        """
        self._attached = dict(attached)
        if run is None or run.ended:
            if run is not None:
                run.close()
            self._on_death()
            self.start()
            return
        self._watch(run)
        self._tell(run, "which")

    async def attach(self, attachment: Attachment, descriptors: Descriptors) -> None:
        """Have one more guest served; returns when it is. Raises BackendFailed."""
        self._attached[attachment.guest] = (attachment, descriptors)
        self._on_change()
        ready = asyncio.get_running_loop().create_future()
        self._waiting[attachment.guest] = ready
        self._send(attachment, descriptors)
        try:
            await ready
        except BackendFailed:
            del self._attached[attachment.guest]
            raise
        finally:
            del self._waiting[attachment.guest]

    async def renew(self) -> float | None:
        """Put a new process in the place of the running one; returns the seconds in which nobody served.

        The new one is up before the old one is told to stop. None: the old one ended by itself meanwhile, or the new
        one did not come up and the old one goes on. Raises BackendFailed where the new one cannot serve something.
        """
        old = self._run
        if not self._attached:
            return None
        successor = BackendRun.start(verbose=self._verbose)
        if not await says_hello(successor) or self._run is not old or old is None:
            self._log.error("the new back-end did not come up in time, or is not needed any more")
            end_now(successor)
            return None
        self._successor = successor
        loop = asyncio.get_running_loop()
        self._renewing = {guest: loop.create_future() for guest in self._attached}
        began = time.monotonic()
        self._tell(old, "stop")
        loop.call_later(STOP_SECONDS, self._kill_if_still, old)
        done, pending = await asyncio.wait(self._renewing.values(), timeout=SERVED_SECONDS)
        self._renewing = {}
        for future in done:
            future.result()
        if pending:
            raise BackendFailed(f"back-end {self.name}: not every device is served after {SERVED_SECONDS:g} s")
        return time.monotonic() - began

    def record(self) -> tuple[dict[str, Any], dict[str, int]]:
        """What a later keeper has to know, as something JSON can hold, and the descriptors that go with it, by name."""
        messages = {attachment.guest: attachment.message() for attachment, _ in self._attached.values()}
        files = self._run.files() if self._run is not None else {}
        return {"pid": self._latest, "attachments": messages}, files

    def let_go(self) -> None:
        """A later keeper watches over it from here on."""
        loop = asyncio.get_running_loop()
        self._stopping = True
        if self._restart_timer is not None:
            self._restart_timer.cancel()
        if self._successor is not None:
            end_now(self._successor)
        if self._run is not None:
            loop.remove_reader(self._run.channel.fileno())
            loop.remove_reader(self._run.pidfd)

    async def stop(self) -> None:
        """Have it stop, and wait until it has."""
        self._stopping = True
        if self._restart_timer is not None:
            self._restart_timer.cancel()
        if self._successor is not None:
            end_now(self._successor)
            self._successor = None
        if self._run is None:
            return
        self._tell(self._run, "stop")
        try:
            await asyncio.wait_for(self._gone.wait(), STOP_SECONDS)
        except TimeoutError:
            self._run.kill()
            await self._gone.wait()

    def _use(self, run: BackendRun) -> None:
        """Everything is to be served by this process from now on."""
        self._watch(run)
        self._on_change()
        for attachment, descriptors in self._attached.values():
            self._send(attachment, descriptors)

    def _watch(self, run: BackendRun) -> None:
        self._run = run
        self._latest = run.pid
        self._born = time.monotonic()
        loop = asyncio.get_running_loop()
        loop.add_reader(run.channel.fileno(), self._receive, run)
        loop.add_reader(run.pidfd, self._ended, run)

    def _send(self, attachment: Attachment, descriptors: Descriptors) -> None:
        if self._run is not None:
            self._tell(self._run, "attach", attachment.message(), descriptors.flat())

    def _tell(self, run: BackendRun, kind: str, body: Message | None = None, files: list[int] | None = None) -> None:
        try:
            run.channel.send(kind, body, files)
        except OSError as error:
            # It died meanwhile: its pidfd says so too, and the next start is told everything again.
            self._log.debug("%s: %s", kind, error)

    def _receive(self, run: BackendRun) -> bool:
        """Take one message; whether there was one."""
        word: Word | None = None
        try:
            received = run.channel.receive()
            if received is not None:
                # Nobody has asked for descriptors: kept, they would in the end be all that this process may have.
                close_all(received[1])
                word = word_of(received[0])
        except (OSError, IvshmemVirtioError) as error:
            self._log.error("channel: %s", error)
        if word is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(run.channel.fileno())
            # Without a channel it is of no use; usually it is on its way out already.
            loop.call_later(STOP_SECONDS, self._kill_if_still, run)
            return False
        self._handle(word)
        return True

    def _kill_if_still(self, run: BackendRun) -> None:
        if self._run is run:
            run.kill()

    def _handle(self, word: Word) -> None:
        if word.type == "failed":
            self._log.error("%s: %s", word.guest, word.error)
            for waiting in (self._waiting.get(word.guest), self._renewing.get(word.guest)):
                if waiting is not None and not waiting.done():
                    waiting.set_exception(BackendFailed(f"guest {word.guest}: {word.error}"))
        elif word.type in ("ready", "served"):
            expected = self._waiting if word.type == "ready" else self._renewing
            if word.guest in expected and not expected[word.guest].done():
                expected[word.guest].set_result(None)
        elif word.type == "serving":
            for guest in self._attached.keys() - set(word.guests):
                self._send(*self._attached[guest])

    def _ended(self, run: BackendRun) -> None:
        while run.spoke() and self._receive(run):
            pass
        loop = asyncio.get_running_loop()
        loop.remove_reader(run.channel.fileno())
        loop.remove_reader(run.pidfd)
        status = run.reap()
        run.close()
        self._run = None
        self._on_death()
        if self._stopping:
            self._gone.set()
            return
        if self._successor is not None:
            successor, self._successor = self._successor, None
            self._use(successor)
            return
        young = time.monotonic() - self._born < SHORT_LIFE_SECONDS
        self._delay = min(2 * self._delay or 0.1, LONGEST_DELAY_SECONDS) if young else 0.0
        said = "back-end died" if status is None else f"back-end died with status {status}"
        self._log.error("%s; started again in %.1f s", said, self._delay)
        self._on_change()
        self._restart_timer = loop.call_later(self._delay, self._restart)

    def _restart(self) -> None:
        if not self._stopping:
            self.start()


async def says_hello(run: BackendRun) -> bool:
    """Whether a new process comes up in time; takes its first message."""
    loop = asyncio.get_running_loop()
    spoke = asyncio.Event()
    loop.add_reader(run.channel.fileno(), spoke.set)
    try:
        await asyncio.wait_for(spoke.wait(), HELLO_SECONDS)
        return run.channel.receive() is not None
    except (TimeoutError, OSError, IvshmemVirtioError):
        return False
    finally:
        loop.remove_reader(run.channel.fileno())


def end_now(run: BackendRun) -> None:
    """End a process that nothing was told yet."""
    run.kill()
    run.reap()
    run.close()
