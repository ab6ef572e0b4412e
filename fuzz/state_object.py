# SPDX-License-Identifier: MIT
"""The state object of a back-end, spoilt: of any length and content, as far as its header is that of these links."""

from __future__ import annotations

import os
from contextlib import suppress

from fuzz.echo import SIZES, Echo
from fuzz.guarded import PAGE
from fuzz.script import Script
from fuzz.silent_link import SilentLink
from fuzz.turns import LOOP, turn
from fuzz.unexpected import fail_on_traceback
from ivshmem_virtio.devices.failing import FailingDevice
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.layout import FRONTEND, Capability, FrontendLine, State
from ivshmem_virtio.service.attachment import ServedLink
from ivshmem_virtio.service.state_object import find_state, make_state
from ivshmem_virtio.transport.device import DeviceTransport
from ivshmem_virtio.transport.kept_layout import STATE_FIRST_LINK
from ivshmem_virtio.transport.kept_link import KeptLink
from ivshmem_virtio.transport.served_device import ServedDevice

LINK = SilentLink(2 * PAGE)
LINKS = [ServedLink(LINK.layout, "echo", {})] * 2
LOG = fail_on_traceback()


def spoil(memory: int, script: Script) -> None:
    """Words of the object, and its length."""
    shape = script.byte()
    for _ in range(shape >> 3):
        os.pwrite(memory, script.bytes(script.width()), STATE_FIRST_LINK * (script.byte() & 0x3F) + script.below(64))
    if shape & 1:
        os.ftruncate(memory, shape << 5)


def go_on(device: ServedDevice, kept: KeptLink | None) -> None:
    """A device that is to go on from there, with a driver that waits for it."""
    transport = DeviceTransport(LINK.backend, device, LOOP)
    line = transport.registers.layout.frontend_line
    LINK.window.store32(line + FrontendLine.CAPABILITIES, Capability.RESUME)
    if kept is not None:
        LINK.window.store64(line + FrontendLine.INCARNATION, kept.incarnation)
    LINK.set_other_state(FRONTEND, State.READY)
    transport.start(kept)
    transport.look()
    turn(2)
    transport.stop()
    turn(2)
    LOG.check()


def run(data: bytes) -> None:
    """One object."""
    LINK.clear()
    memory = os.memfd_create("ivshmem-virtio-fuzz")
    try:
        devices = [Echo(resumable=True) for _ in LINKS]
        for kept in make_state(memory, LINKS, devices):
            kept.begin(7)
        script = Script(data)
        spoil(memory, script)
        for found in find_state(memory, LINKS) or []:
            echo = Echo(resumable=True)
            fits = found.queue_sizes == SIZES and found.config_length == len(echo.config)
            go_on(echo, found if fits else None)
            with suppress(IvshmemVirtioError):
                go_on(FailingDevice("echo", script.byte() & 3, found, LINK.window.length), found)
    finally:
        os.close(memory)
