# SPDX-License-Identifier: MIT
"""One link of a back-end: served by its device, by a failing device in its place, or by nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ivshmem_virtio.devices.device import Device, DeviceError
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.service.attachment import ServedLink
from ivshmem_virtio.service.state_object import identity_of, offered_features
from ivshmem_virtio.service.worker import Worker
from ivshmem_virtio.transport.device import DeviceTransport
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.trace import Trace

if TYPE_CHECKING:
    from ivshmem_virtio.devices.failing import FailingDevice


@dataclass
class Opened:
    """A device whose host resources are there, and what serves it."""

    device: Device
    transport: DeviceTransport
    worker: Worker


@dataclass
class Failing:
    """What answers in the place of a device."""

    device: FailingDevice
    transport: DeviceTransport


class LinkService:
    """Who serves a link. ``make`` gives its device, not open, anew each time.

    A device whose work blocks (blk) gets a worker of its own, the others live on ``shared``. ``on_change`` is called
    when ``describe`` has something else to say. Not for two threads at a time, but for ``beat`` and ``describe``.
    """

    def __init__(
        self,
        served: ServedLink,
        link: Link,
        make: Callable[[], Device],
        shared: Worker,
        on_change: Callable[[], None],
        trace: Trace | None,
        doorbell_rate: int,
    ) -> None:
        self.served = served
        self.trouble: str | None = None
        """Why the device is not served, where that is so."""
        self._link = link
        self._make = make
        self._shared = shared
        self._on_change = on_change
        self._trace = trace
        self._doorbell_rate = doorbell_rate
        self._own_worker: Worker | None = None
        self._opening: Future[Opened] | None = None
        self._kept: KeptLink | None = None
        self._serving: Opened | None = None
        self._failing: Failing | None = None

    # -- the device ---------------------------------------------------------------------------------------------------

    def open(self) -> Future[Opened]:
        """Begin to open the device; the future raises DeviceError, OSError or WindowTooSmall."""
        try:
            device = self._make()
            worker = self._worker_for(device)
            transport = self._transport(device, worker)
        except Exception as error:
            failed: Future[Opened] = Future()
            failed.set_exception(error)
            return failed
        self._opening = worker.submit(partial(_open, Opened(device, transport, worker)))
        return self._opening

    def _worker_for(self, device: Device) -> Worker:
        if not device.blocking:
            return self._shared
        if self._own_worker is None:
            self._own_worker = Worker(device.name)
        return self._own_worker

    def _transport(self, device: Device | FailingDevice, worker: Worker) -> DeviceTransport:
        return DeviceTransport(
            self._link,
            device,
            worker.loop,
            on_change=self._on_change,
            trace=self._trace,
            doorbell_rate=self._doorbell_rate,
        )

    def serve(self, opened: Opened, kept: KeptLink | None) -> None:
        """Have the device at work. ``kept``: what it goes on from, if it is about this device, and keeps itself."""
        self._kept = kept
        self._serving = opened
        if kept is not None:
            _introduce(kept, opened.device)
        room = kept if kept is not None and _has_room(kept, opened.device) else None
        try:
            if room is not None and room.memory_length:
                opened.worker.call(partial(opened.device.keep_in, room.memory()))
            opened.worker.call(partial(opened.transport.start, room))
        except BaseException:
            self._stop_serving()
            raise
        self.trouble = None
        self._note_served()
        self._on_change()

    def abandon(self, opened: Opened) -> None:
        """Give back what a device has that is not to be served after all."""
        opened.worker.call(opened.device.close)

    def _stop_serving(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.worker.call(serving.transport.stop)
            serving.worker.call(serving.device.close)

    def _note_served(self) -> None:
        if self._kept is not None:
            self._kept.served = time.monotonic_ns() // 1_000_000

    # -- errors in its place ------------------------------------------------------------------------------------------

    @property
    def is_failing(self) -> bool:
        """Whether requests are answered with errors."""
        return self._failing is not None

    def fail(self, kept: KeptLink) -> None:
        """Answer with errors from now on."""
        # Only where it is needed: a back-end that is started again is waited for.
        from ivshmem_virtio.devices.failing import FailingDevice

        layout = self.served.layout
        device = FailingDevice(layout.name, layout.device_id, kept, layout.rw_size)
        transport = self._transport(device, self._shared)
        self._failing = Failing(device, transport)
        self._shared.call(partial(transport.start, kept))
        self._on_change()

    def stop_failing(self) -> None:
        """The link is absent again."""
        failing, self._failing = self._failing, None
        if failing is not None:
            self._shared.call(failing.transport.stop)

    # -- from outside -------------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """One heartbeat, of whoever serves."""
        serving, failing = self._serving, self._failing
        if serving is not None:
            serving.transport.registers.beat()
            self._note_served()
        elif failing is not None:
            failing.transport.registers.beat()

    def say_trouble(self, trouble: str) -> None:
        """For ``describe``."""
        self.trouble = trouble
        self._on_change()

    def describe(self) -> dict[str, Any]:
        """For the status file."""
        serving, failing = self._serving, self._failing
        if serving is not None:
            return {**serving.transport.describe(), "served_by": "device", "trouble": None}
        if failing is not None:
            return {**failing.transport.describe(), "served_by": "errors", "trouble": self.trouble}
        layout = self.served.layout
        return {"name": layout.name, "device_id": layout.device_id, "served_by": "nobody", "trouble": self.trouble}

    def stop(self) -> None:
        """Declare the link absent and give back everything."""
        self.stop_failing()
        self._stop_serving()
        # A device that is still being opened holds up its worker, and for how long nobody knows.
        if self._own_worker is not None and (self._opening is None or self._opening.done()):
            self._own_worker.stop()
        self._link.close()


def _open(opened: Opened) -> Opened:
    """On the worker of the device."""
    try:
        opened.device.open(opened.worker.loop)
    except (IvshmemVirtioError, OSError):
        raise
    except Exception as error:
        # Code of somebody else may raise anything.
        what = f"{type(error).__name__}: {error}"
        raise DeviceError(f"device {opened.device.name} cannot be opened: {what}") from error
    return opened


def _introduce(kept: KeptLink, device: Device) -> None:
    """With another device, or another image, nobody goes on where the one of before was."""
    identity = identity_of(device)
    if kept.identity != identity:
        kept.change_device(identity, offered_features(device))


def _has_room(kept: KeptLink, device: Device) -> bool:
    shape = (tuple(device.queue_sizes), len(device.config), device.kept_length)
    return (kept.queue_sizes, kept.config_length, kept.memory_length) == shape
