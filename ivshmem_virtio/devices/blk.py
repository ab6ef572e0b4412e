# SPDX-License-Identifier: MIT
"""virtio-blk (device id 2) on a raw file or a block device of the host (virtio 1.4, 5.2)."""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from ivshmem_virtio.core import Bell, BlkEngine, Chain, Engine, PlaneWorker
from ivshmem_virtio.devices.blk_config_space import (
    ALWAYS,
    CONFIG,
    WRITEBACK_OFFSET,
    Feature,
    config_space,
    segment_limits,
)
from ivshmem_virtio.devices.blk_held import Held
from ivshmem_virtio.devices.blk_image import SECTOR, Image, ImageUnusable
from ivshmem_virtio.devices.blk_null import NullImage
from ivshmem_virtio.devices.blk_options import check_options
from ivshmem_virtio.devices.blk_pace import Pace
from ivshmem_virtio.devices.blk_plane import Plane
from ivshmem_virtio.devices.blk_request import HEADER, RequestServer
from ivshmem_virtio.devices.device import Device, DriverHandle
from ivshmem_virtio.devices.own_time import own_time
from ivshmem_virtio.devices.resource import Access, Resource
from ivshmem_virtio.transport.queue import Queue

_log = logging.getLogger("ivshmem_virtio.device.blk")

KEPT_WRITETHROUGH = 1
PUBLISH_SECONDS = 0.001
LOCK_SECONDS = 10.0
NULL_SIZE = 1 << 30


class Blk(Device):
    """A disk.

    ``path`` names the image; with ``backend`` "null" there is none, and the disk has ``size`` bytes. ``direct`` passes
    by the host's page cache. ``window`` is the size of the link's window in bytes, ``serial`` (at most 20 ASCII
    characters, default: the beginning of ``name``) is what the guest finds in /sys/block/vdX/serial.

    ``aio`` says who waits for the storage: the kernel's io_uring where there is one ("auto") or else nobody does
    ("io_uring"), or always the workers ("none").

    ``poll``, ``cpus`` and ``workers`` are about the threads that serve the queues: for how long one looks for more work
    before it sleeps ("adaptive", "never", "always", or so many microseconds at most), where they may run, and how many
    there are. Where no engine can serve a queue, reading and writing block the loop the device runs on.

    ``bytes_per_second`` and ``requests_per_second`` are limits. With ``delay_ms`` every request waits a random time of
    up to so many milliseconds, so that requests come back out of order: that is for tests, as is ``delay_seed``.
    """

    device_id: ClassVar[int] = 2
    blocking: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        *,
        path: str | Path = "",
        backend: str = "image",
        size: int = NULL_SIZE,
        read_only: bool = False,
        direct: bool = False,
        aio: str = "auto",
        queues: int = 1,
        queue_size: int = 128,
        serial: str | None = None,
        poll: str | int = "adaptive",
        cpus: Sequence[int] = (),
        workers: int = 1,
        bytes_per_second: int | None = None,
        requests_per_second: int | None = None,
        delay_ms: int = 0,
        delay_seed: int = 0,
        window: int,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        super().__init__(name)
        limits = {"bytes_per_second": bytes_per_second, "requests_per_second": requests_per_second}
        check_options(name, window, queues, serial, limits, delay_ms, backend=backend, aio=aio)
        self.path = str(path)
        self._null = backend == "null"
        self._size = size
        self._direct = direct
        self.read_only = read_only
        self.writable_config = {} if read_only else {WRITEBACK_OFFSET: 1}
        self._queue_sizes = [queue_size] * queues
        self._segment_limits = segment_limits(window, queue_size)
        self._window = window
        self._serial = (name if serial is None else serial).encode("ascii", "replace")
        self._lock_seconds = lock_seconds
        self._writeback = True
        self._image: Image | NullImage | None = None
        self._server: RequestServer | None = None
        self._driver: DriverHandle | None = None
        self._pace = Pace(**limits, delay=delay_ms / 1000, seed=delay_seed)
        self._held: Held | None = None
        aio = "none" if self._null or not self._pace.unlimited else aio
        self._plane = Plane(name, queues=queues, workers=workers, poll=poll, cpus=cpus, aio=aio)

    @property
    def features(self) -> int:
        """Feature bits offered."""
        changing = Feature.RO if self.read_only else Feature.CONFIG_WCE | Feature.DISCARD | Feature.WRITE_ZEROES
        return ALWAYS | changing | (Feature.MQ if len(self._queue_sizes) > 1 else 0)

    @property
    def queue_sizes(self) -> Sequence[int]:
        """One size for each request queue."""
        return self._queue_sizes

    @property
    def image(self) -> Image | NullImage:
        """The open image; raises ImageUnusable before ``open``."""
        if self._image is None:
            raise ImageUnusable(f"image {self.path} is not open")
        return self._image

    @property
    def config(self) -> bytes:
        """struct virtio_blk_config as far as ``write_zeroes_may_unmap`` and its padding."""
        if self._image is None:
            return bytes(CONFIG.size)
        return config_space(
            self._image,
            *self._segment_limits,
            writeback=self._writeback,
            queues=len(self._queue_sizes),
            read_only=self.read_only,
        )

    def write_config(self, offset: int, data: bytes) -> None:
        """``writeback``: 0 makes every write stable before it is reported done, 1 leaves that to flush requests."""
        if offset == WRITEBACK_OFFSET and self._server is not None:
            self._writeback = data[0] != 0
            self._server.writethrough = not self._writeback
            self._plane.set_writethrough(not self._writeback)
            if not self._writeback:
                # What was written before that; nothing is under way any more that did not know of it.
                self._flush_quietly()

    def _flush_quietly(self) -> None:
        try:
            self.image.flush()
        except OSError as error:
            _log.error("%s: flush on the way to writethrough: %s", self.name, error.strerror)

    @property
    def resources(self) -> Sequence[Resource]:
        """The image."""
        if self._null:
            return ()
        return [Resource(self.path, Access.READ if self.read_only else Access.WRITE)]

    def prepare(self) -> None:
        """The kernel's rings."""
        self._plane.prepare()

    def open(self, loop: AbstractEventLoop) -> None:
        """Open and lock the image; waits a bounded time for the lock. Raises ImageMissing, ImageForbidden, ..."""
        self._image = self._open_image()
        self._server = RequestServer(self.name, self._image, self._serial, self._window)
        if self._pace.unlimited:
            self._plane.start()
        else:
            self._held = Held(loop, self._serve_held)

    def _open_image(self) -> Image | NullImage:
        if self._null:
            return NullImage(self._size, read_only=self.read_only)
        return Image(self.path, read_only=self.read_only, lock_seconds=self._lock_seconds, direct=self._direct)

    def close(self) -> None:
        """Close and unlock the image. What is held was never begun."""
        self._server = None
        if self._held is not None:
            self._held.stay()
            self._held = None
        self._plane.close()
        if self._image is not None:
            self._image.close()
            self._image = None

    @property
    def identity(self) -> str:
        """Of the open image."""
        return self.image.identity

    @property
    def kept(self) -> int:
        """Whether the driver switched to writethrough."""
        return KEPT_WRITETHROUGH * (not self._writeback)

    def restore(self, kept: int) -> None:
        """The cache mode as it was."""
        self._writeback = not kept & KEPT_WRITETHROUGH

    def check_capacity(self) -> bool:
        """Look whether the image was resized, and tell the driver if so (virtio 1.4, 5.2.6.2); True = it was."""
        changed = self.image.remeasure()
        if changed:
            _log.info("%s: %s now has %d sectors", self.name, self.path, self.image.length // SECTOR)
            self._plane.set_capacity(self.image.length)
            if self._driver is not None:
                self._driver.config_changed()
        return changed

    def activate(self, driver: DriverHandle) -> None:
        """Requests may come. What the driver accepted decides when a write counts as done (virtio 1.4, 5.2.6.2)."""
        self._driver = driver
        can_flush = bool(driver.features & Feature.FLUSH)
        if driver.features & Feature.CONFIG_WCE and self._writeback and not can_flush:
            self._writeback = False
            driver.config_changed()
        if self._server is not None:
            writeback = self._writeback if driver.features & Feature.CONFIG_WCE else can_flush
            self._server.writethrough = not writeback
        if self._held is not None:
            # A queue that is still the one of before was not reset, and its driver waits for what is held.
            self._held.keep_only(driver.queues)
            self._held.sleep()

    def deactivate(self) -> None:
        """Reset: nothing held is carried out from now on; what was carried out is whole. The cache mode stays."""
        self._driver = None
        self._plane.forget()
        if self._held is not None:
            self._held.stay()

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        """Reads, writes and flushes go on without Python, unless requests are to be held."""
        if self._server is None or self._held is not None:
            return None
        engine = BlkEngine(
            queue.ring,
            bell,
            partial(self._serve_unusual, self._server),
            fd=self.image.fd,
            capacity=self.image.length,
            read_only=self.read_only,
            direct=self._direct,
            uring=self._plane.ring_of(queue.index),
        )
        engine.set_writethrough(self._server.writethrough)
        return self._plane.worker_of(queue.index, engine), engine

    @staticmethod
    def _serve_unusual(server: RequestServer, chain: Chain, error: int) -> int:
        """What the engine leaves to Python, on its worker's thread: ``error`` is the host's answer, 0 = none yet."""
        return server.fail(chain, error) if error else server.serve(chain)

    def handle_queue(self, queue: Queue) -> None:
        """Serve what is there, or hold it until it is due."""
        if self._server is None:
            return
        if self._held is None:
            self._serve_all(queue, self._server)
        else:
            now = self._held.now
            for chain in queue.chains():
                self._held.add(self._pace.due(now, data_length(chain)), queue, chain)
            self._serve_held()

    @staticmethod
    def _serve_all(queue: Queue, server: RequestServer) -> None:
        """Publish now and then, so that a slow request does not keep back those before it."""
        published = time.monotonic()
        for chain in queue.chains():
            queue.push(chain, server.serve(chain))
            now = time.monotonic()
            if now - published > PUBLISH_SECONDS:
                queue.flush()
                published = now

    def _serve_held(self) -> None:
        """Serve what is due by now, and publish each at once: they come one by one. Then sleep."""
        held, server = self._held, self._server
        if held is None or server is None:
            return
        now = held.now
        while (due := held.take(now)) is not None:
            queue, chain = due
            with own_time(self.name, queue):
                queue.push(chain, server.serve(chain))
        held.sleep()


def data_length(chain: Chain) -> int:
    """Bytes of data that a request moves: all but its header and its status."""
    return max(chain.readable_length - HEADER.size, chain.writable_length - 1, 0)
