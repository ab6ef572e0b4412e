# SPDX-License-Identifier: MIT
"""Bring-up, use, absence and return, with our driver side against our device side in one thread."""

from __future__ import annotations

import select

import pytest

from ivshmem_virtio.errors import RingFull
from ivshmem_virtio.link.layout import BackendLine, Capability, FrontendLine, Header, State
from ivshmem_virtio.transport.device import LOOK_SECONDS
from ivshmem_virtio.transport.driver.errors import (
    AcknowledgementTimedOut,
    BackendAbsent,
    BackendLost,
    ConfigOutOfRange,
    ConfigUnstable,
    DeviceNeedsReset,
    EpochChanged,
    FieldNotWritable,
    NotBroughtUp,
    PoolExhausted,
    QueueBusy,
    QueueMissing,
    QueueSizeRefused,
    RequestTimedOut,
    RequestTooLong,
    TransactionTimedOut,
)
from ivshmem_virtio.transport.driver.transport import EVERYTHING
from ivshmem_virtio.transport.features import Feature, Status
from tests.unit.driver_link_pair import FRONTEND_ID, Bench, bench

BRING_UP_TRANSACTIONS = 22
"""Features 7, each of two queues 7, DRIVER_OK 1."""


@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("capabilities", [EVERYTHING, Capability(0), Capability.SIZED_TRANSACTIONS])
@pytest.mark.parametrize(("size", "host_placed"), [(None, True), (4, True), (None, False), (2, False)])
def test_whole_life(vectors: int, capabilities: Capability, size: int | None, host_placed: bool) -> None:
    with bench(vectors=vectors, capabilities=capabilities) as b:
        for _ in range(2):
            b.bring_up(size, host_placed)
            assert b.device.status == 0xF
            for text in (b"a", b"hello", bytes(range(256)) * 8):
                assert b.ask(text) == text[::-1]
                assert b.ask(text, queue=1) == text[::-1]
            b.driver.close()
            b.device.look()
            assert b.mirror.active is None
            assert b.pair.frontend.own_state() == State.ABSENT


def test_rings_lie_where_the_host_wants_them() -> None:
    with bench() as b:
        b.bring_up()
        assert [b.device.describe()["queues"][q]["desc"] for q in (0, 1)] == [
            b.device.registers.layout.ring_block(q)[0] for q in (0, 1)
        ]
        assert b.driver.pool.buffers == 0


def test_own_placement_lies_behind_the_reserved_part_and_is_given_back() -> None:
    with bench() as b:
        b.bring_up(host_placed=False)
        assert all(queue["desc"] >= b.driver.backend.size for queue in b.device.describe()["queues"])
        assert b.driver.pool.buffers == 2
        b.driver.reset()
        assert b.driver.pool.buffers == 0


def test_features_are_what_both_have() -> None:
    with bench() as b:
        b.driver.bring_up()
        assert b.driver.device_features() & 0xFFFFFF == 0b101
        assert b.driver.negotiate(0b110) & 0xFFFFFF == 0b100
        assert b.device.features == b.driver.features
        assert b.driver.features & Feature.EVENT_IDX


def test_backend_that_never_comes() -> None:
    with bench(started=False, seconds=0.05) as b, pytest.raises(BackendAbsent, match="its state is 0, waiting for 1"):
        b.driver.bring_up()


def test_backend_that_comes_late() -> None:
    with bench(started=False) as b:
        naps: list[float] = []

        def late(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 10:
                b.start()
            b.pause(seconds)

        b.driver._patience._pause = late
        b.bring_up()
        assert b.ask(b"late") == b"etal"


def test_backend_that_takes_us_for_another() -> None:
    with bench(seconds=0.05) as b:
        b.driver._handshake._peer_plus_one = FRONTEND_ID + 2
        with pytest.raises(AcknowledgementTimedOut, match="takes this peer"):
            b.driver.bring_up()
        assert b.device.status == 0


def test_backend_that_hangs_in_a_transaction() -> None:
    with bench(seconds=0.05) as b:
        b.driver.bring_up()
        b.running = False
        with pytest.raises(TransactionTimedOut, match="stuck"):
            b.driver.add_status(Status.FEATURES_OK)
        b.running = True
        b.driver.reset()
        assert b.driver.status == 0


def test_nothing_works_before_bring_up() -> None:
    with bench() as b:
        for action in (b.driver.reset, b.driver.negotiate, lambda: b.driver.read_config(0, 1)):
            with pytest.raises(NotBroughtUp):
                action()
        b.driver.close()


def test_unfit_registers_are_not_written() -> None:
    with bench() as b:
        b.driver.bring_up()
        for offset in (0, 4, 8, 0xC, 0x22, 0x42, 0x48):
            with pytest.raises(FieldNotWritable):
                b.driver.write_register(offset, 1)


@pytest.mark.parametrize("queue", [2, 64, 0xFFFFFFFF])
def test_missing_queue(queue: int) -> None:
    with bench() as b:
        b.driver.bring_up()
        b.driver.negotiate()
        with pytest.raises(QueueMissing, match=f"no queue {queue}"):
            b.driver.setup_queue(queue)


def test_queue_sizes_and_double_enable() -> None:
    with bench() as b:
        b.driver.bring_up()
        b.driver.negotiate()
        for size in (0, 3, 32, -4):
            with pytest.raises(QueueSizeRefused):
                b.driver.setup_queue(0, size=size)
        b.driver.setup_queue(0)
        with pytest.raises(QueueBusy):
            b.driver.setup_queue(0)


def test_queue_reset_while_the_other_goes_on() -> None:
    with bench() as b:
        b.bring_up()
        b.driver.reset_queue(0)
        assert b.device.queues[0] is None
        assert b.ask(b"still here", queue=1) == b"ereh llits"
        b.driver.setup_queue(0, size=8)
        assert b.ask(b"again") == b"niaga"


def test_a_full_ring_keeps_no_buffers_of_what_it_refused() -> None:
    with bench() as b:
        b.bring_up()
        b.mirror.hold = True
        ring = b.driver.queues[1]
        for _ in range(8):
            ring.submit([b"x"], [1])
        held = b.driver.pool.buffers
        with pytest.raises(RingFull):
            ring.submit([b"x"], [1])
        with pytest.raises(PoolExhausted):
            b.driver.queues[0].submit([b"x"], [1 << 20])
        assert b.driver.pool.buffers == held
        assert (ring.free, ring.outstanding) == (0, 8)


def test_a_request_of_more_parts_than_the_back_end_has_descriptors_for() -> None:
    """How large a queue can be is the back-end's word, so a driver fails with an error of its own (2.7.5.3.1)."""
    with bench() as b:
        b.driver.bring_up()
        b.driver.negotiate()
        ring = b.driver.setup_queue(0, size=2)
        with pytest.raises(RequestTooLong, match="3 parts in a queue of 2"):
            ring.submit([b"x", b"y"], [1])
        assert b.driver.pool.buffers == 0


def test_reset_with_chains_in_flight() -> None:
    with bench() as b:
        b.bring_up()
        b.mirror.hold = True
        ring = b.driver.queues[0]
        for _ in range(5):
            ring.submit([b"lost"], [4])
        ring.kick()
        b.device.look()
        b.driver.reset()
        assert (b.driver.pool.buffers, b.mirror.active, b.device.features) == (0, None, 0)
        b.mirror.hold = False
        b.bring_up()
        assert b.ask(b"new") == b"wen"
        assert b.mirror.handled == 1


@pytest.mark.parametrize("step", range(BRING_UP_TRANSACTIONS))
def test_reset_in_the_middle_of_everything(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the bring-up after any of its transactions, reset, and bring it up whole."""

    class Stop(Exception):
        pass

    with bench() as b:
        b.driver.bring_up()
        left = [step]
        write = b.driver._transactions.write

        def limited(offset: int, value: bytes, seconds: float) -> None:
            if left[0] == 0:
                raise Stop
            left[0] -= 1
            write(offset, value, seconds)

        with monkeypatch.context() as patch:
            patch.setattr(b.driver._transactions, "write", limited)
            with pytest.raises(Stop):
                b.bring_up_from_here()
        b.driver.reset()
        assert (b.driver.status, b.device.features, b.mirror.active) == (0, 0, None)
        b.bring_up()
        assert b.ask(b"whole") == b"elohw"


def test_configuration_read_write_and_bounds() -> None:
    with bench() as b:
        b.bring_up()
        assert b.driver.read_config(8, 8) == bytes(range(8))
        generation = b.pair.frontend.window.load32(Header.CONFIG_GENERATION)
        b.driver.write_config(4, b"abcd")
        assert b.driver.read_config(0, 8) == b"\1\0\0\0abcd"
        assert b.pair.frontend.window.load32(Header.CONFIG_GENERATION) != generation
        b.driver.write_config(0, b"zz")
        assert b.driver.read_config(0, 8) == b"\1\0\0\0abcd", "a read-only field shows the device's value again"
        for offset, length in ((-1, 1), (16, 1), (0, 17), (12, 8)):
            with pytest.raises(ConfigOutOfRange):
                b.driver.read_config(offset, length)
            with pytest.raises(ConfigOutOfRange):
                b.driver.write_config(offset, bytes(max(length, 0)))
        with pytest.raises(ConfigOutOfRange, match="1, 2, 4 or 8"):
            b.driver.write_config(0, b"abc")


def test_configuration_change_is_announced_once() -> None:
    with bench() as b:
        b.bring_up()
        b.driver.config_changed()
        assert b.mirror.active is not None
        b.mirror.number = 77
        b.mirror.active.config_changed()
        assert b.driver.config_changed()
        assert not b.driver.config_changed()
        assert b.driver.read_config(0, 4) == b"\x4d\0\0\0"


def test_configuration_that_never_settles() -> None:
    with bench(seconds=0.05) as b:
        b.bring_up()
        b.pair.backend.window.store32(Header.CONFIG_GENERATION, 3)
        with pytest.raises(ConfigUnstable):
            b.driver.read_config(0, 4)


def test_needs_reset_is_reported_and_a_reset_helps() -> None:
    with bench() as b:
        b.bring_up()
        b.driver.config_changed()
        # An available index that runs far ahead of the ring.
        b.pair.frontend.window.store16(b.device.describe()["queues"][0]["driver"] + 2, 0x4000)
        b.device.look()
        with pytest.raises(DeviceNeedsReset):
            b.driver.check()
        assert b.driver.config_changed()
        assert b.mirror.active is None
        b.driver.reset()
        b.bring_up()
        assert b.ask(b"well") == b"llew"


def test_restart_of_the_backend_changes_the_epoch() -> None:
    with bench(seconds=1) as b:
        b.bring_up()
        b.stop()
        assert not b.driver.present()
        b.start()
        with pytest.raises(EpochChanged, match="started afresh"):
            b.driver.check()
        b.bring_up()
        assert b.ask(b"afresh") == b"hserfa"


def test_revision_1_driver_is_done_for_when_the_backend_leaves() -> None:
    with bench(capabilities=Capability(0)) as b:
        b.bring_up()
        b.stop()
        with pytest.raises(BackendLost):
            b.driver.check()


def absent(b: Bench) -> None:
    """As if the back-end had died and the keeper had zeroed its state; its memory stays."""
    b.running = False
    b.pair.backend.set_state(State.ABSENT)


def back(b: Bench) -> None:
    b.pair.backend.set_state(State.READY)
    b.running = True


def test_same_epoch_after_an_absence_goes_on() -> None:
    with bench(seconds=1) as b:
        b.bring_up()
        absent(b)
        ring = b.driver.queues[0]
        request = ring.submit([b"patience"], [8])
        ring.kick()
        with pytest.raises(RequestTimedOut, match="absent"):
            b.driver.wait(ring, 0.02)
        back(b)
        b.pair.backend.acknowledge(1)
        assert b.driver.complete(ring, request).data == b"ecneitap"


def test_queues_are_rung_after_an_absence() -> None:
    with bench() as b:
        b.bring_up()
        absent(b)
        assert not b.driver.present()
        for vector in range(4):
            b.pair.backend.acknowledge(vector)
        b.pair.backend.set_state(State.READY)
        assert b.driver.present()
        assert [rung(b, vector) for vector in range(4)] == [False, True, True, False]


def rung(b: Bench, vector: int) -> bool:
    """Whether one of the back-end's vectors was rung since it was acknowledged."""
    return bool(select.select([b.pair.backend.fileno(vector)], [], [], 0)[0])


def test_reset_while_nobody_answers_is_a_new_incarnation() -> None:
    with bench(seconds=0.05) as b:
        b.bring_up()
        before = b.driver._handshake.incarnation
        absent(b)
        b.driver.reset()
        line = b.device.registers.layout.frontend_line
        incarnation = b.pair.frontend.window.load64(line + FrontendLine.INCARNATION)
        assert incarnation not in (0, before)
        assert b.device.status == 0xF
        back(b)
        b.device.look()
        assert b.device.status == 0, "the new incarnation is the reset"
        acknowledged = b.device.registers.layout.backend_line + BackendLine.INCARNATION_ACKNOWLEDGED
        assert b.pair.frontend.window.load64(acknowledged) == incarnation


def test_resuming_counts_only_where_both_sides_know_it() -> None:
    with bench(seconds=0.05) as b:
        b.bring_up()
        capabilities = b.device.registers.layout.backend_line + BackendLine.CAPABILITIES
        for both in (True, False):
            old = b.pair.backend.window.load32(capabilities)
            b.pair.backend.window.store32(capabilities, old | Capability.RESUME if both else old & ~Capability.RESUME)
            b.bring_up()
            b.pair.backend.set_state(State.RESUMING)
            assert b.driver.present() is both
            b.pair.backend.set_state(State.READY)
            assert b.driver.present()


def test_transaction_that_spans_an_absence_is_repeated() -> None:
    """Cleared by a back-end that was not the one of before, it may have been lost with that one."""
    with bench() as b:
        b.bring_up()
        window = b.pair.backend.window
        words: list[int] = []

        def flicker(_seconds: float) -> None:
            words.append(window.load32(Header.WRITE_TRANSACTION))
            if len(words) == 1:
                window.store32(Header.WRITE_TRANSACTION, 0)
                b.pair.backend.set_state(State.RESUMING)
            else:
                b.pair.backend.set_state(State.READY)
                b.pause(0)

        capabilities = b.device.registers.layout.backend_line + BackendLine.CAPABILITIES
        window.store32(capabilities, window.load32(capabilities) | Capability.RESUME)
        b.bring_up()
        b.driver._patience._pause = flicker
        b.driver.write_config(4, b"1234")
        assert b.mirror.written == b"1234"
        assert len({word for word in words if word}) == 3, (
            "1 to 2 and 2 to 1: each try has a sequence number of its own"
        )


def test_heartbeat_that_stands_still_is_absence() -> None:
    now = [100.0]
    with bench() as b:
        b.driver._patience.now = lambda: now[0]
        b.bring_up()
        assert b.driver.present()
        now[0] += 2.9
        assert b.driver.present()
        now[0] += 0.2
        assert not b.driver.present()
        b.device.registers.beat()
        assert b.driver.present()


def test_driver_that_vanishes_leaves_its_transaction() -> None:
    with bench() as b:
        b.bring_up()
        window = b.pair.frontend.window
        b.pair.frontend.set_state(State.ABSENT)
        window.store32(Header.DEVICE_STATUS, 0)
        window.store32(Header.WRITE_TRANSACTION, Header.DEVICE_STATUS)
        b.device.look()
        assert window.load32(Header.WRITE_TRANSACTION) == Header.DEVICE_STATUS
        assert b.mirror.active is None
        b.pair.frontend.set_state(State.READY)
        b.device.look()
        assert window.load32(Header.WRITE_TRANSACTION) == 0


def test_devices_of_a_worker_are_looked_at_in_one_wake_up() -> None:
    with bench() as one, bench() as other:
        for b in (one, other):
            timer = b.device._timer
            assert timer is not None
            assert timer.when() % LOOK_SECONDS == 0
