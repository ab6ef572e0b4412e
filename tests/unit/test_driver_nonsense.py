# SPDX-License-Identifier: MIT
"""Drivers that break every rule of the header: the device side answers, ignores or asks for a reset, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivshmem_virtio.link.layout import FrontendLine, Header, State
from ivshmem_virtio.transport.driver.errors import DriverError, FeaturesRefused, QueueRefused
from ivshmem_virtio.transport.features import Status
from tests.unit.driver_link_pair import Bench, bench

LIVE = 0xF


def transact(b: Bench, offset: int, value: int, size: int, word_size: int | None = None) -> None:
    """Store ``value`` and a transaction word for it, then let the device look until the word is served."""
    window = b.pair.frontend.window
    window.write(offset, value.to_bytes(size, "little"))
    window.store32(Header.WRITE_TRANSACTION, offset | (size if word_size is None else word_size) << 16 | 5 << 20)
    b.device.look()
    assert window.load32(Header.WRITE_TRANSACTION) == 0, "every transaction is answered, whatever it says"


@pytest.mark.parametrize("offset", sorted({*range(0x4C), 0x4C, 0x50, 0x53, 0x5B, 0x5C, 0x1000, 0xFFF8}))
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 8, 15])
def test_no_write_that_is_not_in_the_table_does_anything(offset: int, size: int) -> None:
    allowed = {
        *((o, s) for o in (0x10, 0x14, 0x18, 0x1C) for s in (0, 4)),
        *((o, s) for o in (0x20, 0x24) for s in (0, 2)),
        *((o, s) for o in (0x28, 0x30, 0x38) for s in (0, 8)),
        *((0x26, s) for s in (0, 2, 4)),
        *((0x44, s) for s in (0, 1, 4)),
        *((0x50, s) for s in (0, 4)),
    }
    if (offset, size) in allowed:
        return
    with bench() as b:
        b.bring_up()
        before = b.device.describe()
        window = b.pair.frontend.window
        window.write(max(offset, 12), bytes(4))
        window.store32(Header.WRITE_TRANSACTION, offset | size << 16 | 1 << 20)
        b.device.look()
        assert window.load32(Header.WRITE_TRANSACTION) == 0
        assert b.device.describe() == before
        assert b.mirror.number == 0


@pytest.mark.parametrize("word", [0x00010000, 0xFFF00000, 0xFFF80000])
def test_word_without_an_offset(word: int) -> None:
    with bench() as b:
        b.bring_up()
        before = b.device.describe()
        b.pair.frontend.window.store32(Header.WRITE_TRANSACTION, word)
        b.device.look()
        assert b.pair.frontend.window.load32(Header.WRITE_TRANSACTION) == 0
        assert b.device.describe() == before


@pytest.mark.parametrize("selector", [2, 3, 0x80000000, 0xFFFFFFFF])
def test_feature_selectors_out_of_range_read_as_zero_and_write_nothing(selector: int) -> None:
    with bench() as b:
        b.driver.bring_up()
        transact(b, Header.DEVICE_FEATURES_SEL, selector, 4)
        assert b.pair.frontend.window.load32(Header.DEVICE_FEATURES) == 0
        transact(b, Header.DRIVER_FEATURES_SEL, selector, 4)
        transact(b, Header.DRIVER_FEATURES, 0xFFFFFFFF, 4)
        assert b.device.features == 0


@pytest.mark.parametrize("queue", [2, 3, 0xFFFF, 0x10000, 0xFFFFFFFF])
def test_a_queue_that_does_not_exist_reads_as_zero_and_takes_nothing(queue: int) -> None:
    with bench() as b:
        b.driver.bring_up()
        b.driver.negotiate()
        transact(b, Header.QUEUE_SEL, queue, 4)
        assert b.pair.frontend.window.read(Header.QUEUE_SIZE, 32) == bytes(32)
        for offset, size in ((0x20, 2), (0x24, 2), (0x28, 8), (0x30, 8), (0x38, 8), (0x26, 2)):
            transact(b, offset, 1, size)
        assert b.device.queues == [None, None]
        assert not b.device.status & Status.NEEDS_RESET


def test_queue_fields_without_any_selection() -> None:
    with bench() as b:
        b.driver.bring_up()
        for offset, size in ((0x20, 2), (0x24, 2), (0x28, 8), (0x26, 2), (0x26, 4)):
            transact(b, offset, 1, size)
        assert b.device.queues == [None, None]


SIZE, DESC, DRIVER, DEVICE = 0x20, 0x28, 0x30, 0x38
WINDOW = 1 << 18


@pytest.mark.parametrize(
    ("offset", "value", "size"),
    [
        (SIZE, 0, 2),
        (SIZE, 3, 2),
        (SIZE, 32, 2),
        (SIZE, 0x8000, 2),
        (SIZE, 0xFFFF, 2),
        *((o, v, 8) for o in (DESC, DRIVER, DEVICE) for v in (0, 0x40, WINDOW, WINDOW - 1, 1 << 63, (1 << 64) - 16)),
        (DESC, 0x10008, 8),
        (DRIVER, 0x10001, 8),
        (DEVICE, 0x10002, 8),
        (DESC, WINDOW - 240, 8),
        (DRIVER, WINDOW - 32, 8),
        (DEVICE, WINDOW - 128, 8),
    ],
)
def test_a_ring_that_may_not_be_is_not_enabled(offset: int, value: int, size: int) -> None:
    with bench() as b:
        b.driver.bring_up()
        b.driver.negotiate()
        transact(b, Header.QUEUE_SEL, 0, 4)
        transact(b, offset, value, size)
        transact(b, Header.QUEUE_ENABLE, 1, 2)
        assert b.pair.frontend.window.load16(Header.QUEUE_ENABLE) == 0
        assert b.device.queues[0] is None
        assert b.driver.status & Status.NEEDS_RESET
        assert b.driver.config_changed()
        b.driver.reset()
        b.bring_up()
        assert b.ask(b"fine") == b"enif"


def test_the_driver_is_told_that_its_queue_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as b:
        b.driver.bring_up()
        b.driver.negotiate()
        write = b.driver._transactions.write

        def misplaced(offset: int, value: bytes, seconds: float) -> None:
            write(offset, bytes(8) if offset == Header.QUEUE_DEVICE else value, seconds)

        monkeypatch.setattr(b.driver._transactions, "write", misplaced)
        with pytest.raises(QueueRefused, match="queue 1"):
            b.driver.setup_queue(1, host_placed=False)
        assert b.driver.pool.buffers == 0


def test_enabling_before_features_ok() -> None:
    with bench() as b:
        b.driver.bring_up()
        transact(b, Header.QUEUE_SEL, 0, 4)
        transact(b, Header.QUEUE_ENABLE, 1, 2)
        assert b.device.queues[0] is None
        assert b.driver.status & Status.NEEDS_RESET


def test_addresses_of_a_live_queue_do_not_move() -> None:
    with bench() as b:
        b.bring_up()
        before = b.device.describe()["queues"]
        transact(b, Header.QUEUE_SEL, 0, 4)
        for offset, size in ((SIZE, 2), (DESC, 8), (DRIVER, 8), (DEVICE, 8)):
            transact(b, offset, 0, size)
        assert b.device.describe()["queues"] == before
        transact(b, Header.QUEUE_SEL, 0, 4)
        assert b.pair.frontend.window.load64(Header.QUEUE_DESC) == before[0]["desc"]
        assert b.ask(b"alive") == b"evila"


@pytest.mark.parametrize("value", [0xFFFF, 2, 0x0100])
def test_queue_enable_other_than_1_resets_the_queue(value: int) -> None:
    with bench() as b:
        b.bring_up()
        transact(b, Header.QUEUE_SEL, 0, 4)
        transact(b, Header.QUEUE_ENABLE, value, 2)
        assert b.pair.frontend.window.load16(Header.QUEUE_ENABLE) == 0
        assert b.ask(b"other", queue=1) == b"rehto"


@pytest.mark.parametrize("missing", [0, 1, 1 << 32, 1 << 33])
def test_features_ok_needs_version_1_and_access_platform(missing: int) -> None:
    with bench() as b:
        b.driver.bring_up()
        for word in (0, 1):
            transact(b, Header.DRIVER_FEATURES_SEL, word, 4)
            transact(b, Header.DRIVER_FEATURES, missing >> 32 * word & 0xFFFFFFFF, 4)
        transact(b, Header.DEVICE_STATUS, 0xB, 4)
        assert b.driver.status == 0x3


def test_features_that_were_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as b:
        b.driver.bring_up()
        offered = b.driver.device_features()
        monkeypatch.setattr(b.driver, "device_features", lambda: offered | 1 << 20)
        with pytest.raises(FeaturesRefused, match="does not accept"):
            b.driver.negotiate(1 << 20)


def test_features_do_not_change_after_features_ok() -> None:
    with bench() as b:
        b.driver.bring_up()
        accepted = b.driver.negotiate()
        transact(b, Header.DRIVER_FEATURES_SEL, 0, 4)
        transact(b, Header.DRIVER_FEATURES, 0, 4)
        assert b.device.features == accepted


@pytest.mark.parametrize("status", [0x1, 0x3, 0x7, 0xB, 0xD, 0xE])
def test_status_bits_are_not_cleared_one_by_one(status: int) -> None:
    with bench() as b:
        b.bring_up()
        transact(b, Header.DEVICE_STATUS, status, 4)
        assert b.driver.status == LIVE
        assert b.mirror.active is not None


def test_a_driver_cannot_set_needs_reset() -> None:
    with bench() as b:
        b.bring_up()
        transact(b, Header.DEVICE_STATUS, 0x4F, 4)
        assert b.driver.status == LIVE
        assert b.ask(b"go on") == b"no og"


def test_driver_ok_without_features_ok_activates_nothing() -> None:
    with bench() as b:
        b.driver.bring_up()
        transact(b, Header.DEVICE_STATUS, 0x7, 4)
        assert b.mirror.active is None


def test_failed_stops_the_device_until_reset() -> None:
    with bench() as b:
        b.bring_up()
        transact(b, Header.DEVICE_STATUS, 0x8F, 4)
        assert (b.driver.status, b.mirror.active) == (0x8F, None)
        b.bring_up()
        assert b.ask(b"ok") == b"ko"


def test_upper_bytes_of_the_status_do_not_count() -> None:
    with bench() as b:
        b.bring_up()
        transact(b, Header.DEVICE_STATUS, 0xFFFFFF00, 4)
        assert (b.driver.status, b.mirror.active) == (0, None)


@pytest.mark.parametrize(
    ("offset", "value", "size"),
    [(0x10, 1, 4), (0x1C, 1, 4), (0x24, 3, 2), (0x26, 1, 2), (0x26, 1, 4), (0x44, LIVE, 4), (0x44, LIVE, 1)],
)
def test_repeating_a_transaction_changes_nothing(offset: int, value: int, size: int) -> None:
    with bench() as b:
        b.bring_up()
        transact(b, Header.QUEUE_SEL, 1, 4)
        transact(b, offset, value, size)
        before, active = b.device.describe(), b.mirror.active
        for _ in range(3):
            transact(b, offset, value, size)
        assert b.device.describe() == before
        assert b.mirror.active is active
        assert b.ask(b"same", queue=0) == b"emas"


def test_resets_in_a_row() -> None:
    with bench() as b:
        for _ in range(5):
            transact_when_up(b, lambda: transact(b, Header.DEVICE_STATUS, 0, 4))
        b.bring_up()
        assert b.ask(b"x") == b"x"


def transact_when_up(b: Bench, action: Callable[[], None]) -> None:
    """Bring the device up, then do ``action`` twice."""
    b.bring_up()
    action()
    action()


def test_a_driver_that_rewrites_the_whole_header_only_hurts_itself() -> None:
    with bench() as b:
        b.bring_up()
        window = b.pair.frontend.window
        described = b.device.describe()
        window.write(0, b"\xff" * 8 + bytes(4) + b"\xff" * (b.driver.backend.size - 12))
        window.store64(b.device.registers.layout.frontend_line + FrontendLine.INCARNATION, described["incarnation"])
        b.device.look()
        assert b.device.describe()["epoch"] == described["epoch"]
        assert b.device.describe()["features"] == described["features"]


def test_a_new_incarnation_is_a_reset() -> None:
    with bench() as b:
        b.bring_up()
        line = b.device.registers.layout.frontend_line
        b.pair.frontend.window.store64(line + FrontendLine.INCARNATION, 0x1234)
        b.device.look()
        assert (b.device.status, b.mirror.active) == (0, None)


def test_nothing_is_looked_at_before_the_incarnation_is_acknowledged() -> None:
    with bench() as b:
        b.bring_up()
        line = b.device.registers.layout.frontend_line
        window = b.pair.frontend.window
        window.store32(line + FrontendLine.PEER_PLUS_ONE, 999)
        window.store64(line + FrontendLine.INCARNATION, 0x1234)
        window.store32(Header.WRITE_TRANSACTION, Header.DEVICE_STATUS)
        for _ in range(3):
            b.device.look()
        assert window.load32(Header.WRITE_TRANSACTION) == Header.DEVICE_STATUS


def test_a_driver_that_never_stops_writing_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device side must not serve transactions for ever within one look."""
    with bench() as b:
        b.driver.bring_up()
        window = b.pair.frontend.window
        served = 0

        class Endless:
            def __getattr__(self, name: str) -> object:
                return getattr(window, name)

            def compare_exchange32(self, offset: int, expected: int, desired: int) -> bool:
                nonlocal served
                served += 1
                return False

        window.store32(Header.WRITE_TRANSACTION, 0x10)
        with monkeypatch.context() as patch:
            patch.setattr(b.pair.backend, "window", Endless())
            b.device.look()
        assert 1 <= served <= 1000


FIELDS = st.sampled_from([0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x26, 0x28, 0x30, 0x38, 0x44, 0x4C, 0x50])
VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 7, 8, 0xB, 0xF, 16, 0x30000005, 0x13, 0x113, 0x400, 0x1000, 0x10000]),
    st.integers(0, (1 << 64) - 1),
)
WORD = st.tuples(st.just("transact"), FIELDS, VALUES, st.sampled_from([0, 1, 2, 4, 8]))
RAW = st.tuples(st.just("raw"), st.integers(0, 0xFFFFFFFF), st.just(0), st.just(0))
SCRIBBLE = st.tuples(st.just("scribble"), st.integers(0, 0x600), VALUES, st.just(0))
STATE = st.tuples(st.just("state"), st.sampled_from([0, 1, 2, 77]), st.just(0), st.just(0))
UP = st.tuples(st.just("up"), st.just(0), st.just(0), st.just(0))
STEPS = st.lists(st.one_of(WORD, WORD, WORD, RAW, SCRIBBLE, STATE, UP), max_size=40)


def come_up(b: Bench) -> None:
    """Become a proper driver in the middle of the storm, as far as the scribbled header lets one."""
    try:
        b.bring_up()
        assert b.ask(b"up") == b"pu"
    except DriverError:
        b.pair.frontend.set_state(State.READY)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([1, 2, 4]))
def test_storms(steps: list[tuple[str, int, int, int]], vectors: int) -> None:
    """Whatever a driver does in whatever order: no exception, no hang, and after a reset everything works."""
    with bench(vectors=vectors, seconds=0.05) as b:
        window = b.pair.frontend.window
        for kind, first, value, size in steps:
            if kind == "transact":
                window.write(first, value.to_bytes(8, "little")[: size or 8])
                window.store32(Header.WRITE_TRANSACTION, first | size << 16)
            elif kind == "raw":
                window.store32(Header.WRITE_TRANSACTION, first)
            elif kind == "scribble":
                window.write(first, value.to_bytes(8, "little"))
            elif kind == "state":
                b.pair.frontend.set_state(first)
            else:
                come_up(b)
            b.device.look()
            b.loop.run_until_complete(asyncio.sleep(0))
        b.pair.frontend.set_state(State.ABSENT)
        window.store32(Header.WRITE_TRANSACTION, 0)
        b.device.look()
        b.stop()
        b.start()
        b.driver.seconds = 60
        b.bring_up()
        assert b.ask(b"calm") == b"mlac"
