# SPDX-License-Identifier: MIT
"""A compiled worker: what it serves, when it sleeps, and that it is out of an engine when it says so."""

from __future__ import annotations

import os
import threading
import time

import pytest

from ivshmem_virtio.core import Bell, BlkEngine, Chain, PlaneWorker
from ivshmem_virtio.errors import AvailableIndexJump

from .plane_rig import GET_ID, PATIENCE, NullDisk, disk_on_worker, until

AVAILABLE_INDEX = 8192 + 2


def thread_seconds() -> float:
    """Processor time of all threads of this process."""
    return time.process_time()


def idle_seconds(seconds: float) -> float:
    """Processor time of this process while this thread sleeps."""
    before = thread_seconds()
    time.sleep(seconds)
    return thread_seconds() - before


def test_requests_come_back_and_the_driver_is_told() -> None:
    with disk_on_worker() as (disk, _):
        disk.driver.enable_callbacks()
        disk.round_trip()
        assert os.eventfd_read(disk.interrupt) == disk.bell.rung == 1
        assert disk.window.load8(0) == 1
        assert disk.device.chains == 1
        assert not disk.served


def test_what_is_unusual_is_asked_of_python() -> None:
    with disk_on_worker() as (disk, _):
        disk.add(GET_ID)
        disk.kick()
        until(disk.collect, "the request did not come back")
        assert disk.served == [0]
        assert disk.engine.counters == {"unusual": 1, "errors": 0, "asynchronous": 0}


def test_a_batch_interrupts_once() -> None:
    with disk_on_worker() as (disk, worker):
        disk.driver.enable_callbacks()
        for _ in range(16):
            disk.add()
        worker.aside(disk.kick)
        until(lambda: disk.device.chains == 16, "not all requests were served")
        until(lambda: disk.collect(), "nothing came back")
        assert disk.bell.rung == 1


@pytest.mark.parametrize("spin", [0, 50_000], ids=["never", "adaptive"])
def test_an_idle_worker_costs_nothing(spin: int) -> None:
    with disk_on_worker(longest_spin=spin) as (disk, worker):
        for _ in range(50):
            disk.round_trip()
        until(lambda: idle_seconds(0.5) < 0.02, "it is not idle")
        assert worker.counters["sleeps"] > 0


def test_a_worker_that_always_polls_never_sleeps() -> None:
    with disk_on_worker(longest_spin=-1) as (disk, worker):
        for _ in range(20):
            disk.add()
            disk.driver.publish()  # and no kick
            until(disk.collect, "a request was not seen without a kick")
        assert worker.counters["sleeps"] == 0


def test_polling_grows_where_work_comes_soon_and_shrinks_where_it_does_not() -> None:
    with disk_on_worker(longest_spin=50_000_000) as (disk, worker):

        def soon() -> object:
            disk.round_trip()
            time.sleep(0.001)
            return worker.counters["spin_ns"] >= 2_000_000 and worker.counters["spins"]

        until(soon, "work that came each millisecond was not looked for")
        long = worker.counters["spin_ns"]
        for _ in range(3):
            time.sleep(0.1)  # longer than the longest look
            disk.round_trip()
        assert worker.counters["spin_ns"] < long


def test_a_lost_doorbell_is_made_up_for() -> None:
    with disk_on_worker(longest_spin=0) as (disk, worker):
        until(lambda: worker.counters["sleeps"], "it did not go to sleep")
        disk.add()
        disk.driver.publish()
        until(disk.collect, "nobody looked")


def test_somebody_else_may_wake_it() -> None:
    with disk_on_worker(longest_spin=0) as (disk, worker):
        until(lambda: worker.counters["sleeps"], "it did not go to sleep")
        began = time.monotonic()
        for _ in range(20):
            disk.add()
            disk.driver.publish()
            worker.wake()
            until(disk.collect, "it did not wake")
        assert time.monotonic() - began < 15, "the timer was waited for"


def test_detached_while_busy_it_touches_nothing_any_more() -> None:
    """Requests are waiting all the time; after detach not one more is answered."""
    with disk_on_worker(longest_spin=-1) as (disk, worker):
        out = 0

        def all_back() -> bool:
            nonlocal out
            out -= disk.collect()
            return not out

        for _ in range(20):
            disk.add(count=16)
            out += 16
            disk.driver.publish()
            worker.detach(disk.engine)
            served = disk.device.chains
            disk.add()
            out += 1
            disk.driver.publish()
            time.sleep(0.002)
            assert disk.device.chains == served
            worker.attach(disk.engine, doorbells=[disk.doorbell])
            until(all_back, "not gone on with")


def test_detach_waits_for_what_python_was_asked() -> None:
    entered, release = threading.Event(), threading.Event()

    class Slow(NullDisk):
        def serve(self, chain: Chain, error: int) -> int:
            entered.set()
            assert release.wait(PATIENCE)
            return super().serve(chain, error)

    disk = Slow()
    worker = PlaneWorker("slow")
    worker.start()
    worker.attach(disk.engine, doorbells=[disk.doorbell])
    disk.add(GET_ID)
    disk.kick()
    assert entered.wait(PATIENCE)
    detaching = threading.Thread(target=worker.detach, args=(disk.engine,))
    detaching.start()
    detaching.join(0.1)
    assert detaching.is_alive()
    release.set()
    detaching.join(PATIENCE)
    assert not detaching.is_alive()
    assert disk.collect() == 1
    worker.stop()
    disk.close()


def test_a_broken_ring_is_reported_once_and_left_alone() -> None:
    disk = NullDisk()
    worker = PlaneWorker("broken")
    worker.start()
    told: list[int] = []
    worker.attach(disk.engine, doorbells=[disk.doorbell], on_stopped=lambda: told.append(threading.get_ident()))
    disk.window.store16(AVAILABLE_INDEX, 1000)
    disk.ring()
    until(lambda: told, "nobody was told")
    disk.ring()
    worker.aside(lambda: None)
    assert len(told) == 1
    assert told[0] != threading.get_ident()
    with pytest.raises(AvailableIndexJump):
        disk.engine.check()
    worker.detach(disk.engine)
    worker.stop()
    disk.close()


def test_an_error_in_python_ends_the_engine_and_not_the_worker() -> None:
    class Failing(NullDisk):
        def serve(self, chain: Chain, error: int) -> int:
            raise ZeroDivisionError("not this one")

    failing, good = Failing(), NullDisk()
    worker = PlaneWorker("failing")
    worker.start()
    told = threading.Event()
    worker.attach(failing.engine, doorbells=[failing.doorbell], on_stopped=told.set)
    worker.attach(good.engine, doorbells=[good.doorbell])
    failing.add(GET_ID)
    failing.kick()
    assert told.wait(PATIENCE)
    with pytest.raises(ZeroDivisionError):
        failing.engine.check()
    good.round_trip(8)
    worker.detach(failing.engine)
    worker.detach(good.engine)
    worker.stop()
    failing.close()
    good.close()


def test_doorbells_that_bring_nothing_are_bounded() -> None:
    with disk_on_worker(longest_spin=0, doorbell_rate=200) as (disk, worker):
        began = time.monotonic()
        while time.monotonic() < began + 0.5 or not worker.counters["storms"]:
            disk.ring()
            assert time.monotonic() < began + PATIENCE
        sleeps, kicks = worker.counters["sleeps"], disk.engine.kicks
        allowed = 200 * (time.monotonic() - began)
        assert kicks < 2 * allowed, f"{kicks} of {disk.kicks} doorbells were listened to"
        assert sleeps < 4 * allowed
        disk.round_trip()


def test_doorbells_that_bring_work_are_not() -> None:
    with disk_on_worker(longest_spin=0, doorbell_rate=20) as (disk, worker):
        began = time.monotonic()
        for _ in range(200):
            disk.round_trip()
        assert worker.counters["storms"] == 0
        assert time.monotonic() - began < 200 / 20


def test_a_busy_queue_leaves_its_neighbour_its_turn() -> None:
    busy, calm = NullDisk(), NullDisk()
    worker = PlaneWorker("two", longest_spin=-1)
    worker.start()
    worker.attach(busy.engine)
    worker.attach(calm.engine)
    busy.add(count=16)
    calm.add(count=16)
    worker.aside(lambda: (busy.driver.publish(), calm.driver.publish()))
    until(lambda: busy.device.chains == calm.device.chains == 16, "one was not served")
    for disk in (busy, calm):
        worker.detach(disk.engine)
    worker.stop()
    busy.close()
    calm.close()


def test_what_may_not_be() -> None:
    with disk_on_worker() as (disk, worker):
        with pytest.raises(RuntimeError, match="belongs to a worker"):
            worker.attach(disk.engine)
        with pytest.raises(RuntimeError, match="only its thread"):
            disk.engine.serve()
        with pytest.raises(RuntimeError, match="1 engines"):
            worker.stop()
        with pytest.raises(BufferError):
            disk.window.close()
        with pytest.raises(RuntimeError, match="does not belong"):
            PlaneWorker("other").detach(disk.engine)
    other = NullDisk()
    with pytest.raises(ValueError, match="doorbell_rate"):
        PlaneWorker("x").attach(other.engine, doorbell_rate=0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        PlaneWorker("x").attach(other.engine, doorbells=[99999])
    assert other.engine.worker is None
    other.close()


def test_a_processor_that_is_not_there() -> None:
    worker = PlaneWorker("nowhere", cpus=[100_000])
    with pytest.raises(OSError, match="Invalid argument"):
        worker.start()


def test_a_worker_stays_on_its_processors() -> None:
    mine = sorted(os.sched_getaffinity(0))
    before = set(os.listdir("/proc/self/task"))
    worker = PlaneWorker("pinned", cpus=mine[:1])
    worker.start()
    (thread,) = set(os.listdir("/proc/self/task")) - before
    assert os.sched_getaffinity(int(thread)) == {mine[0]}
    worker.stop()


def test_a_bell_without_rope_rings_nobody() -> None:
    disk = NullDisk()
    bell = Bell()
    bell.hang(-1)
    bell.hang(99999)
    engine = BlkEngine(disk.device, bell, disk.serve, fd=-1, capacity=512, read_only=False)
    disk.driver.enable_callbacks()
    disk.add()
    disk.driver.publish()
    assert engine.serve() == 1
    assert engine.serve() == 0
    assert bell.rung == 1
    disk.close()
