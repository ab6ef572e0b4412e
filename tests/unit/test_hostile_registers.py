# SPDX-License-Identifier: MIT
"""A driver that overstates what it may: the device side of the header does not believe it."""

from __future__ import annotations

import pytest

from ivshmem_virtio.link.layout import BackendLine, FrontendLine, Header, QueueLine, State
from ivshmem_virtio.transport.features import OFFERED, Status

from .driver_link_pair import bench


@pytest.mark.parametrize("bit", [bit for bit in range(64) if not (OFFERED | 0b101) >> bit & 1])
def test_no_bit_is_accepted_that_was_not_offered(bit: int) -> None:
    """Whether the bit has a name or not."""
    with bench() as b:
        b.driver.bring_up()
        offered = b.driver.device_features()
        for word in (1, 0):
            b.driver.write_register(Header.DRIVER_FEATURES_SEL, word)
            b.driver.write_register(Header.DRIVER_FEATURES, (offered | 1 << bit) >> 32 * word & 0xFFFFFFFF)
        b.driver.add_status(Status.FEATURES_OK)
        assert not b.driver.status & Status.FEATURES_OK


def test_the_header_is_restored_once_a_front_end_has_left() -> None:
    with bench() as b:
        b.bring_up()
        before = b.pair.frontend.window.read(0, b.driver.backend.registers_end)
        b.pair.frontend.window.write(0, b"\xa5" * len(before))
        b.pair.frontend.set_state(State.ABSENT)
        b.device.look()
        b.bring_up()
        assert b.ask(b"abc") == b"cba"
        assert b.driver.read_config(0, 4) == before[Header.CONFIG : Header.CONFIG + 4]


def test_a_back_end_that_was_declared_absent_declares_itself_ready() -> None:
    with bench() as b:
        b.bring_up()
        b.pair.backend.set_state(State.ABSENT)
        b.pair.frontend.set_state(State.ABSENT)
        b.device.look()
        assert b.pair.frontend.other_state() == State.READY


def test_a_driver_that_was_declared_absent_by_mistake_finds_its_status_gone() -> None:
    """All it can learn from, for its incarnation was acknowledged. Revision 1 may have posted a status by then."""
    for revision_1 in (False, True):
        with bench() as b:
            b.bring_up()
            window = b.pair.frontend.window
            extension = b.driver.backend.extension
            assert extension is not None
            if revision_1:
                window.store32(extension.frontend_line + FrontendLine.CAPABILITIES, 0)
            shown = window.load32(Header.DEVICE_STATUS)
            assert shown & Status.DRIVER_OK
            b.pair.frontend.set_state(State.ABSENT)
            b.device.look()
            b.pair.frontend.set_state(State.READY)
            b.device.look()
            assert window.load32(Header.DEVICE_STATUS) == (shown if revision_1 else 0)


def test_a_new_incarnation_finds_the_header_restored() -> None:
    with bench() as b:
        b.bring_up()
        extension = b.driver.backend.extension
        assert extension is not None
        window = b.pair.frontend.window
        line = extension.offset
        alone = [(line, BackendLine.HEARTBEAT), (line + BackendLine.CONFIG_LENGTH, 4)]
        alone += [(line + BackendLine.BACKEND_CONFIG_VECTOR, 4), (extension.queue_line(1) + QueueLine.RING_OFFSET, 12)]
        before = [window.read(*part) for part in alone]
        for offset, length in alone:
            window.write(offset, b"\xa5" * length)
        window.store64(extension.frontend_line + FrontendLine.INCARNATION, 5)
        b.device.look()
        assert [window.read(*part) for part in alone] == before
