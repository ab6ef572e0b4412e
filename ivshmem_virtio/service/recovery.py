# SPDX-License-Identifier: MIT
"""Brings the device of a link back after its process was killed, however long that takes."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from threading import Event, Thread

from ivshmem_virtio.service.link_service import LinkService, Opened
from ivshmem_virtio.service.precedence import PATIENCE_SECONDS, Precedence
from ivshmem_virtio.transport.kept_link import KeptLink

RETRY_SECONDS = 2.0
"""Between attempts to open a device."""
GRACE_SECONDS = 1.0
"""For the first attempt of a process, however long others before it have tried."""
LONGEST_RETRY_SECONDS = 300.0
MOST_OPENINGS = 10
"""A device is opened after a growing delay once its opening has ended so many processes in a row."""


class Recovery:
    """Opens the device again and again until it can be served. Until then nobody answers, so requests wait; past the
    time-out of the link they are answered with errors. It begins at once and ends with success, or with ``stop``.
    """

    def __init__(self, service: LinkService, kept: KeptLink, precedence: Precedence) -> None:
        self._service = service
        self._kept = kept
        self._precedence = precedence
        self._goes_first = not kept.openings
        self._log = logging.getLogger(f"ivshmem_virtio.device.{service.served.layout.name}")
        self._attempt: Future[Opened] | None = None
        self._next_attempt = 0.0
        self._deadline = self._absent_since() + service.served.timeout
        if self._goes_first:
            self._deadline = max(self._deadline, time.monotonic() + GRACE_SECONDS)
        self._stopping = False
        self._wake = Event()
        self._thread = Thread(target=self._run, name=f"recovery {service.served.layout.name}", daemon=True)
        self._thread.start()

    def _absent_since(self) -> float:
        """When the device was last at work, in whichever process; as time.monotonic."""
        return self._kept.served / 1000 or time.monotonic()

    def _run(self) -> None:
        if not self._goes_first:
            self._hold_back()
        while not self._stopping:
            now = time.monotonic()
            if self._attempt is None and now >= self._next_attempt:
                self._begin()
            if self._attempt is not None and self._attempt.done():
                served = self._end(self._attempt)
                self._let_suspects_go()
                if served:
                    return
            if not self._service.is_failing and now >= self._deadline:
                self._fail()
            self._wait()

    def _wait(self) -> None:
        """Until an attempt ends or another step is due."""
        due = [] if self._attempt is not None else [self._next_attempt]
        if not self._service.is_failing:
            due.append(self._deadline)
        if self._attempt is None or not self._attempt.done():
            self._wake.wait(max(0.0, min(due) - time.monotonic()) if due else None)
        self._wake.clear()

    def _hold_back(self) -> None:
        """A device that ends who opens it must not keep the others of its guest from being served."""
        beyond = self._kept.openings - MOST_OPENINGS
        if beyond < 0:
            self._next_attempt = time.monotonic() + PATIENCE_SECONDS
            self._precedence.wait(self._go)
        else:
            self._next_attempt = time.monotonic() + min(RETRY_SECONDS * 2.0**beyond, LONGEST_RETRY_SECONDS)
            self._say(f"{self._kept.openings} back-ends in a row ended while they opened it")

    def _go(self) -> None:
        self._next_attempt = 0.0
        self._wake.set()

    def _begin(self) -> None:
        self._kept.openings += 1
        self._attempt = self._service.open()
        self._attempt.add_done_callback(lambda _: self._wake.set())

    def _end(self, attempt: Future[Opened]) -> bool:
        """Whether the device is served now."""
        self._attempt = None
        self._kept.openings = 0
        try:
            self._serve(attempt.result())
        except Exception as error:
            self._log.debug("attempt failed", exc_info=error)
            self._next_attempt = time.monotonic() + RETRY_SECONDS
            self._say(str(error) or type(error).__name__)
            return False
        return True

    def _let_suspects_go(self) -> None:
        if self._goes_first:
            self._goes_first = False
            self._precedence.one_ended()

    def _serve(self, opened: Opened) -> None:
        absent = time.monotonic() - self._absent_since()
        self._service.stop_failing()
        self._service.serve(opened, self._kept)
        if self._kept.troubled:
            refused, dropped, length = self._kept.lost
            self._log.warning(
                "served again after %.1f s; %d requests got errors, %d buffers of output (%d bytes) were dropped",
                *(absent, refused, dropped, length),
            )
            self._kept.troubled, self._kept.lost = False, (0, 0, 0)

    def _fail(self) -> None:
        self._service.trouble = self._service.trouble or "it is still being opened"
        self._kept.troubled = True
        # Said first: once requests are answered, this process may be ended at any moment (see DeviceHost).
        self._log.error(
            "not served for %g s, so requests are answered with errors from now on: %s",
            self._service.served.timeout,
            self._service.trouble,
        )
        self._service.fail(self._kept)

    def _say(self, trouble: str) -> None:
        """One line for each reason, not for each attempt."""
        if trouble == self._service.trouble:
            return
        left = max(0.0, self._deadline - time.monotonic())
        now = "requests are answered with errors" if self._service.is_failing else f"requests wait for {left:.0f} s"
        self._log.error("cannot be served: %s; it is tried again, %s", trouble, now)
        self._kept.troubled = True
        self._service.say_trouble(trouble)

    def wait(self) -> bool:
        """Return when the device is served (True), or nobody tries any more."""
        self._thread.join()
        return not self._stopping

    def stop(self) -> None:
        """No further attempt. One that is being made is left to itself."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        if self._attempt is not None and self._attempt.done() and self._attempt.exception() is None:
            self._service.abandon(self._attempt.result())
