# SPDX-License-Identifier: MIT
"""A back-end that writes what it likes, when it likes: the driver ends with one of its own errors, in bounded time."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivshmem_virtio.errors import IvshmemVirtioError, RingViolation
from ivshmem_virtio.link.layout import BackendLine, Header, QueueLine, State
from ivshmem_virtio.transport.driver.errors import (
    FeatureMissing,
    HeaderSizeInvalid,
    QueueSizeInvalid,
    ResetRefused,
    RingBlockInvalid,
    TransactionTimedOut,
)
from ivshmem_virtio.transport.driver.transport import DriverTransport
from tests.unit.driver_link_pair import FRONTEND_ID, Bench, bench


class Saboteur:
    """Takes the place of the driver's sleep: the device looks, then ``act`` writes; time passes by a fixed step."""

    def __init__(self, b: Bench, act: Callable[[int], None], seconds: float = 1.0) -> None:
        self.bench = b
        self.act = act
        self.pauses = 0
        self.driver = DriverTransport(
            b.pair.frontend, peer_id=FRONTEND_ID, seconds=seconds, pause=self.pause, clock=lambda: self.pauses * 0.01
        )

    def pause(self, _seconds: float) -> None:
        self.pauses += 1
        assert self.pauses < 100_000, "the driver does not come to an end"
        self.bench.device.look()
        self.act(self.pauses)

    def live(self) -> None:
        """The whole way of a driver, twice over."""
        for _ in range(2):
            self.driver.bring_up()
            self.driver.negotiate(self.bench.mirror.features)
            self.driver.read_config(0, 8)
            ring = self.driver.setup_queue(0)
            self.driver.ready()
            for _ in range(4):
                self.driver.complete(ring, ring.submit([b"hello"], [5]))
            self.driver.reset()


def test_without_sabotage_it_works() -> None:
    with bench() as b:
        Saboteur(b, lambda pause: None).live()


def window_store(b: Bench, size: int, offset: int, value: int) -> None:
    b.pair.backend.window.write(offset, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))


@pytest.mark.parametrize(
    ("offset", "size", "value", "error"),
    [
        (Header.SIZE, 4, 0xFFFFFFFF, HeaderSizeInvalid),
        (Header.DEVICE_FEATURES, 4, 0, FeatureMissing),
        (Header.DEVICE_STATUS, 4, 0x4F, ResetRefused),
        (Header.QUEUE_SIZE, 2, 48, QueueSizeInvalid),
        (Header.QUEUE_SIZE, 2, 0x8001, QueueSizeInvalid),
        (Header.QUEUE_DESC, 8, 16, RingBlockInvalid),
        (Header.QUEUE_DESC, 8, 1 << 63, RingBlockInvalid),
        (Header.QUEUE_DRIVER, 8, 0, RingBlockInvalid),
        (Header.QUEUE_DEVICE, 8, (1 << 64) - 4, RingBlockInvalid),
        (Header.WRITE_TRANSACTION, 4, 0x77, TransactionTimedOut),
    ],
)
def test_one_field_that_never_is_what_it_should(offset: int, size: int, value: int, error: type[Exception]) -> None:
    with bench() as b:
        saboteur = Saboteur(b, lambda pause: window_store(b, size, offset, value))
        window_store(b, size, offset, value)
        with pytest.raises(error):
            saboteur.live()


def test_ring_parts_of_the_host_must_not_overlap() -> None:
    with bench() as b:
        block = b.device.registers.layout.ring_block(0)[0]
        saboteur = Saboteur(b, lambda pause: window_store(b, 8, Header.QUEUE_DEVICE, block))
        with pytest.raises(RingBlockInvalid, match="does not lie properly"):
            saboteur.live()


@pytest.mark.parametrize(
    ("index", "ident", "length"),
    [(2, 0, 0), (0x8000, 0, 0), (0xFFFF, 0, 0), (1, 16, 0), (1, 0xFFFFFFFF, 0), (1, 5, 0), (1, 0, 6), (1, 0, 1 << 31)],
)
def test_used_rings_that_lie(index: int, ident: int, length: int) -> None:
    with bench() as b:
        b.bring_up()
        b.mirror.hold = True
        ring = b.driver.queues[0]
        ring.submit([b"hello"], [5])
        ring.kick()
        used = b.device.describe()["queues"][0]["device"]
        b.pair.backend.window.write(used + 4, struct.pack("<II", ident, length))
        b.pair.backend.window.store16(used + 2, index)
        with pytest.raises(RingViolation):
            b.driver.wait(ring)


def test_vectors_of_other_links_are_not_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as b:
        rung: list[int] = []
        saboteur = Saboteur(b, lambda pause: window_store(b, 2, Header.QUEUE_DEVICE_VECTOR, 0xFFFF))
        with monkeypatch.context() as patch:
            patch.setattr(b.pair.frontend._other, "ring", rung.append)
            saboteur.live()
        assert set(rung) <= {0, 1, 2, 3}


PLACES = st.one_of(
    st.sampled_from([int(field) for field in Header]),
    st.sampled_from([0x80 + int(field) for field in BackendLine]),
    st.sampled_from([0x80 + 0xC0 + int(field) for field in QueueLine]),
    st.integers(0, 0x600),
)
VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 0x40, 0x4F, 0xFF, 0xFFFF, 1 << 31, (1 << 64) - 1]), st.integers(0, 1 << 64)
)
ACTS = st.lists(st.tuples(st.integers(1, 120), st.sampled_from([1, 2, 4, 8]), PLACES, VALUES), max_size=8)
STATES = st.lists(st.tuples(st.integers(1, 120), st.sampled_from([0, 1, 2, 3, 0xFFFFFFFF])), max_size=3)


@settings(max_examples=400, deadline=None)
@given(ACTS, STATES)
def test_storms_from_the_other_side(acts: list[tuple[int, int, int, int]], states: list[tuple[int, int]]) -> None:
    with bench() as b:

        def act(pause: int) -> None:
            for when, size, offset, value in acts:
                if when == pause:
                    window_store(b, size, offset, value)
            for when, state in states:
                if when == pause:
                    b.pair.backend.set_state(state)

        saboteur = Saboteur(b, act, seconds=0.5)
        with contextlib.suppress(IvshmemVirtioError):
            saboteur.live()
        saboteur.driver.close()
        assert b.pair.frontend.own_state() == State.ABSENT
