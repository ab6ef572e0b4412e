# SPDX-License-Identifier: MIT
"""virtio-rng (device id 4): random bytes from a file of the host (virtio 1.4, 5.4)."""

from __future__ import annotations

import logging
import os
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Sequence
from typing import ClassVar

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.device import Device, DeviceError, DriverHandle
from ivshmem_virtio.devices.own_time import own_time
from ivshmem_virtio.devices.resource import Access, Resource
from ivshmem_virtio.transport.queue import LOOK_SECONDS, Queue

_log = logging.getLogger("ivshmem_virtio.device.rng")

KERNEL_SOURCE = "/dev/urandom"
# A driver may be given less than it asked for; this keeps one enormous request from holding up everything else.
MOST_AT_ONCE = 64 << 10
IOV_MAX = os.sysconf("SC_IOV_MAX")
LEAST_RATE = 10
TICKS_PER_SECOND = 10


class EntropySourceUnusable(DeviceError):
    """The configured source of random bytes cannot be opened or read."""


class Rng(Device):
    """An entropy source.

    ``source`` is read for random bytes: /dev/urandom, a hardware generator, or a file; a file that comes to its end is
    replaced by /dev/urandom. ``bytes_per_second`` limits how much the guest can draw from it.
    """

    device_id: ClassVar[int] = 4

    def __init__(
        self,
        name: str,
        *,
        source: str = KERNEL_SOURCE,
        queue_size: int = 64,
        bytes_per_second: int | None = None,
        window: int,
    ) -> None:
        super().__init__(name)
        if bytes_per_second is not None and bytes_per_second < LEAST_RATE:
            raise EntropySourceUnusable(
                f"rng {name}: bytes_per_second = {bytes_per_second} is too little, {LEAST_RATE} is the least"
            )
        self.source = str(source)
        self._queue_size = queue_size
        self._rate = bytes_per_second
        self._allowance = self._full_allowance = MOST_AT_ONCE if bytes_per_second is None else bytes_per_second
        self._loop: AbstractEventLoop | None = None
        self._fd = -1
        self._queue: Queue | None = None
        self._held: Chain | None = None
        self._waiting = False
        self._timer: TimerHandle | None = None

    @property
    def queue_sizes(self) -> Sequence[int]:
        """The request queue."""
        return [self._queue_size]

    @property
    def resources(self) -> Sequence[Resource]:
        """The source."""
        return [Resource(self.source, Access.READ)]

    def open(self, loop: AbstractEventLoop) -> None:
        """Open the source; raises EntropySourceUnusable."""
        self._loop = loop
        self._fd = self._open_source(self.source)

    def _open_source(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise EntropySourceUnusable(f"rng {self.name}: cannot read {path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the source."""
        self._stop_waiting()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def activate(self, driver: DriverHandle) -> None:
        """Requests may come."""
        self._queue = driver.queues[0]

    def deactivate(self) -> None:
        """Reset: whatever waits for the source is forgotten."""
        self._stop_waiting()
        self._queue = self._held = None

    def handle_queue(self, queue: Queue) -> None:
        """Answer what is there, unless the source or the rate limit makes us wait already."""
        if not self._waiting:
            self._serve(queue)

    def _serve(self, queue: Queue) -> None:
        until = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < until:
            chain = self._held or queue.pop()
            self._held = None
            if chain is None:
                return
            written = self._fill(chain)
            if written is None:
                self._held = chain
                return
            queue.push(chain, written)
        if self._loop is not None:
            self._loop.call_soon(self._serve_on_own_time)

    def _serve_on_own_time(self) -> None:
        queue = self._queue
        if queue is not None and not self._waiting:
            with own_time(self.name, queue):
                self._serve(queue)

    def _fill(self, chain: Chain) -> int | None:
        """Bytes placed in the chain; None = later."""
        if chain.writable_length == 0:
            return 0
        if self._allowance == 0:
            self._wait_for_allowance()
            return None
        length = min(chain.writable_length, MOST_AT_ONCE, self._allowance)
        try:
            written = os.readv(self._fd, chain.writable_views(0, length)[:IOV_MAX])
        except BlockingIOError:
            self._wait_for_source()
            return None
        except OSError as error:
            return self._replace_source(chain, str(error.strerror))
        if written == 0:
            return self._replace_source(chain, "it came to its end")
        if self._rate is not None:
            self._allowance -= written
        return written

    def _replace_source(self, chain: Chain, reason: str) -> int | None:
        if self.source == KERNEL_SOURCE:
            _log.error("%s: %s: %s", self.name, self.source, reason)
            return 0
        _log.warning("%s: %s: %s; random bytes come from %s from now on", self.name, self.source, reason, KERNEL_SOURCE)
        replacement = self._open_source(KERNEL_SOURCE)
        os.close(self._fd)
        self._fd, self.source = replacement, KERNEL_SOURCE
        return self._fill(chain)

    def _wait_for_source(self) -> None:
        if self._loop is not None:
            self._waiting = True
            self._loop.add_reader(self._fd, self._source_ready)

    def _source_ready(self) -> None:
        self._stop_waiting()
        self._serve_on_own_time()

    def _wait_for_allowance(self) -> None:
        if self._loop is not None and self._timer is None:
            self._waiting = True
            self._timer = self._loop.call_later(1 / TICKS_PER_SECOND, self._refill)

    def _refill(self) -> None:
        self._stop_waiting()
        self._allowance = self._full_allowance // TICKS_PER_SECOND
        self._serve_on_own_time()

    def _stop_waiting(self) -> None:
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is not None and not self._loop.is_closed() and self._fd >= 0:
            self._loop.remove_reader(self._fd)
