# SPDX-License-Identifier: MIT
"""The driver side of the header, whose back-end lies, moves things and leaves while it is waited for.

Behind the lies works a real back-end, so that some things come true.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from fuzz.echo import SIZES, Echo
from fuzz.guarded import PAGE
from fuzz.script import Script
from fuzz.silent_link import FRONTEND_ID, SilentLink
from fuzz.turns import LOOP, turn
from fuzz.unexpected import fail_on_traceback
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.layout import BACKEND, Capability
from ivshmem_virtio.transport.device import DeviceTransport
from ivshmem_virtio.transport.driver.queue import DriverVirtqueue
from ivshmem_virtio.transport.driver.transport import EVERYTHING, DriverTransport

LINK = SilentLink(4 * PAGE)
LOG = fail_on_traceback()
SECONDS = 0.1
"""Of a clock that only waiting moves on."""
LEAST_NAP = 0.02


class Theatre:
    """A driver that believes that it has a device."""

    def __init__(self, script: Script) -> None:
        LINK.clear()
        self.script = script
        self.now = 0.0
        self.honest = bool(script.byte() & 1)
        self.device = DeviceTransport(LINK.backend, Echo(resumable=True), LOOP)
        self.device.start()
        capabilities = EVERYTHING if script.byte() & 3 else Capability(0)
        self.driver = DriverTransport(
            LINK.frontend, peer_id=FRONTEND_ID, capabilities=capabilities, seconds=SECONDS,
            pause=self.pause, clock=lambda: self.now,
        )  # fmt: skip

    def pause(self, seconds: float) -> None:
        """While the driver waits, the back-end does something: good or not."""
        self.now += max(seconds, LEAST_NAP)
        if self.honest or not self.script.more or self.script.byte() & 1:
            self.device.look()
            turn()
        else:
            self.lie()

    def lie(self) -> None:
        """A word of the window, or the State Table."""
        kind = self.script.byte()
        if kind < 0x20:
            LINK.set_other_state(BACKEND, self.script.below(4))
            return
        width = self.script.width()
        place = self.script.number(2) % 0x300 if kind < 0xC0 else self.script.place(LINK.window.length)
        place &= -width
        if place + width <= LINK.window.length:
            LINK.window.write(place, self.script.bytes(width))

    # -- what a driver does -------------------------------------------------------------------------------------------

    def bring_up(self) -> None:
        self.driver.bring_up()
        self.driver.negotiate(self.script.number(2))
        for index in range(len(SIZES)):
            shape = self.script.byte()
            size = self.script.choose((None, None, 4, 2, 1, 3, 64))
            self.driver.setup_queue(index, size=size, host_placed=bool(shape & 1))
        self.driver.ready()

    def request(self) -> None:
        queue = self.some_queue()
        if queue is not None:
            parts = [self.script.bytes(self.script.below(32)) for _ in range(self.script.below(3))]
            lengths = [1 + self.script.below(64) for _ in range(self.script.below(3))]
            request = queue.submit([part or b"." for part in parts] or [b"?"], lengths)
            self.driver.complete(queue, request)
            assert len(request.data) <= sum(lengths)

    def some_queue(self) -> DriverVirtqueue | None:
        return self.script.choose(list(self.driver.queues.values())) if self.driver.queues else None

    def read_config(self) -> None:
        length = self.script.below(20)
        assert len(self.driver.read_config(self.script.byte(), length)) == length

    def write_config(self) -> None:
        self.driver.write_config(self.script.byte(), self.script.bytes(self.script.below(9)))

    def change_config(self) -> None:
        self.device.config_changed()
        self.driver.config_changed()

    def reset_queue(self) -> None:
        self.driver.reset_queue(self.script.below(3))

    def check(self) -> None:
        self.driver.check()

    def close(self) -> None:
        self.driver.close()

    def run(self) -> None:
        """Until the script ends. Whatever the back-end does to it, a driver fails with errors of ours."""
        try:
            with suppress(IvshmemVirtioError):
                self.bring_up()
            while self.script.more:
                with suppress(IvshmemVirtioError):
                    self.script.choose(STEPS)(self)
        finally:
            self.driver.close()
            self.device.stop()
            turn(2)
        LOG.check()


STEPS: tuple[Callable[[Theatre], None], ...] = (
    Theatre.request, Theatre.lie, Theatre.bring_up, Theatre.read_config, Theatre.write_config, Theatre.change_config,
    Theatre.reset_queue, Theatre.check, Theatre.close,
)  # fmt: skip


def run(data: bytes) -> None:
    """One driver."""
    Theatre(Script(data)).run()
