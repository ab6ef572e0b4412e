# SPDX-License-Identifier: MIT
"""A bench whose back-end is killed between any two stores of what it keeps, and one that goes on in its place."""

from __future__ import annotations

from typing import Any

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import State
from ivshmem_virtio.transport.device import DeviceTransport
from ivshmem_virtio.transport.driver.errors import EpochChanged
from ivshmem_virtio.transport.kept_link import KeptLink

from .driver_link_pair import Bench, Mirror
from .split_rig import memory_window

QUEUES = (16, 8)


class Killed(BaseException):
    """The end of a process; nothing in the package catches it."""


class DeadlyWindow:
    """A window that kills who has stored in it ``left`` times."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.left: int | None = None
        self.stores = 0

    def _store(self, name: str, offset: int, value: int) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1
        self.stores += 1
        getattr(self.window, name)(offset, value)

    def store32(self, offset: int, value: int) -> None:
        self._store("store32", offset, value)

    def store64(self, offset: int, value: int) -> None:
        self._store("store64", offset, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.window, name)


class Keeping(KeptLink):
    """Rings know no window but the real one."""

    def ring_record(self, index: int) -> tuple[Window, int]:
        window, offset = super().ring_record(index)
        assert isinstance(window, DeadlyWindow)
        return window.window, offset


class KeptBench(Bench):
    """A bench whose back-end leaves a record, and is started again whenever it was killed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(queues=QUEUES, **options)
        self.memory = DeadlyWindow(memory_window(0x4000))
        self.deaths = 0

    def start(self) -> None:
        try:
            self.device.start(Keeping(self.memory, 0x40, QUEUES))  # type: ignore[arg-type] # a window that can kill
            self.running = True
        except Killed:
            self.die()

    def pause(self, seconds: float) -> None:
        if not self.running:
            self.start()
        try:
            super().pause(seconds)
        except Killed:
            self.die()

    def die(self) -> None:
        """As the keeper leaves things behind a process that was killed."""
        self.memory.left = None
        self.deaths += 1
        if self.device._timer is not None:
            self.device._timer.cancel()
        if self.device._resumption is not None:
            self.device._resumption.stop()
        for vector in range(self.pair.backend.vectors):
            self.loop.remove_reader(self.pair.backend.fileno(vector))
        self.pair.backend.set_state(State.ABSENT)
        self.running = False
        self.mirror = self.new_mirror()
        self.device = DeviceTransport(self.pair.backend, self.mirror, self.loop)

    def new_mirror(self) -> Mirror:
        return Mirror(QUEUES)

    def work(self) -> None:
        """A driver's whole life; one that meets a new epoch meanwhile starts over, as it should."""
        for _ in range(3):
            try:
                self.bring_up()
                assert self.ask(b"first", 0) == b"tsrif"
                self.driver.reset_queue(1)
                self.driver.setup_queue(1, size=4, host_placed=False)
                assert self.ask(b"second", 1) == b"dnoces"
                assert self.ask(b"third", 0) == b"driht"
                self.driver.reset()
                self.driver.bring_up()
                self.bring_up_from_here()
                assert self.ask(b"fourth", 1) == b"htruof"
                return
            except EpochChanged:
                continue
        raise AssertionError("the epoch changes again and again")


class PackedMirror(Mirror):
    packed = True


class KeptPackedBench(KeptBench):
    """One whose killed back-end leaves a record of packed rings."""

    def __init__(self) -> None:
        super().__init__()
        self.mirror.packed = True
        Keeping(self.memory, 0x40, QUEUES).lay_out()  # type: ignore[arg-type] # a window that can kill

    def new_mirror(self) -> Mirror:
        return PackedMirror(QUEUES)
