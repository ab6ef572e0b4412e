# SPDX-License-Identifier: MIT
"""Requests of a disk that would have to wait are the kernel's meanwhile, and come back in an order of their own."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.core import PlaneWorker, Uring

from .file_disk import DISCARD, FLUSH, READ, WRITE, WRITE_ZEROES, FileDisk, file_disk
from .plane_rig import until

LENGTH = 4 << 20
REGISTER = 427
REGISTER_EVENTFD = 4
CONTENT = random.Random(5).randbytes(LENGTH)


def uring() -> Uring:
    try:
        return Uring(64)
    except OSError as error:
        pytest.skip(f"no io_uring here ({error.strerror}): liburing-dev at build time and a kernel that allows it")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def disk(request: pytest.FixtureRequest, image: Path) -> Iterator[FileDisk]:
    with file_disk(image, uring=uring(), packed=request.param) as found:
        yield found


@pytest.mark.parametrize("kind", [FLUSH, WRITE], ids=["flush", "stable write"])
def test_what_waits_is_overtaken(disk: FileDisk, kind: int) -> None:
    disk.engine.set_writethrough(True)
    tries = 0

    def in_one_turn() -> bool:
        """A turn ends early on a machine that stands still, and then nothing has to be overtaken."""
        nonlocal tries
        tries += 1
        disk.add(0, kind)
        for slot in (1, 2, 3):
            disk.add(slot, READ, offset=slot * 8192)
        taken = disk.engine.serve()
        disk.settle()
        return taken == len(disk.collect())

    until(in_one_turn, "no turn took all requests")
    assert disk.order[-4:] == [1, 2, 3, 0]
    assert [disk.status(slot) for slot in range(4)] == [0, 0, 0, 0]
    for slot in (1, 2, 3):
        assert disk.window.read(disk.at(slot), 4096) == CONTENT[slot * 8192 :][:4096]
    assert disk.engine.counters["asynchronous"] >= tries
    assert not disk.served
    assert disk.device.in_flight == 0


def test_without_a_ring_nothing_is_overtaken(image: Path) -> None:
    with file_disk(image, uring=None) as disk:
        disk.add(0, FLUSH)
        disk.add(1, READ)
        disk.settle()
        assert disk.collect() == [0, 1]


def test_pages_that_are_not_in_memory_are_read_by_the_kernel(disk: FileDisk) -> None:
    os.fsync(disk.file)
    os.posix_fadvise(disk.file, 0, 0, os.POSIX_FADV_DONTNEED)
    for slot in range(8):
        disk.add(slot, READ, offset=(slot * 37 % 64) * 65536)
    disk.settle()
    assert sorted(disk.collect()) == list(range(8))
    for slot in range(8):
        assert disk.window.read(disk.at(slot), 4096) == CONTENT[(slot * 37 % 64) * 65536 :][:4096]
    if not disk.engine.counters["asynchronous"]:
        pytest.skip("the test's folder is on a file system that is memory: --basetemp on a disk would do")


class DirectLoad:
    """Random transfers, each slot with a place of the file to itself; what is read is what was last written."""

    def __init__(self, disk: FileDisk, chance: random.Random) -> None:
        self.disk = disk
        self.chance = chance
        self.content = {slot: CONTENT[slot * 65536 :][:32768] for slot in range(48)}
        self.free = list(self.content)
        self.reads: set[int] = set()
        self.done = 0

    def begin(self) -> None:
        slot = self.free.pop(self.chance.randrange(len(self.free)))
        if self.chance.random() < 0.5:
            self.reads.add(slot)
            self.disk.add(slot, READ, offset=slot * 65536, length=32768)
        else:
            self.content[slot] = self.chance.randbytes(32768)
            self.disk.window.write(self.disk.at(slot), self.content[slot])
            self.disk.add(slot, WRITE, offset=slot * 65536, length=32768)

    def take_back(self) -> int:
        """How many slots are free now."""
        for slot in self.disk.collect():
            assert self.disk.status(slot) == 0
            if slot in self.reads:
                self.reads.remove(slot)
                assert self.disk.window.read(self.disk.at(slot), 32768) == self.content[slot]
            self.free.append(slot)
            self.done += 1
        return len(self.free)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_random_direct_requests_on_a_worker(image: Path, packed: bool) -> None:
    with file_disk(image, uring=uring(), direct=True, packed=packed) as disk:
        load = DirectLoad(disk, random.Random(7))
        worker = PlaneWorker("direct", longest_spin=50_000)
        worker.start()
        worker.attach(disk.engine, watched=disk.engine.watched)
        for _ in range(400):
            until(load.take_back, "no request came back")
            load.begin()
            worker.wake()
        until(lambda: load.take_back() == 48, "the last requests did not come back")
        worker.detach(disk.engine)
        worker.stop()
        assert disk.device.in_flight == 0
        assert disk.engine.counters["asynchronous"] == load.done == 400
        assert not disk.served
    after = image.read_bytes()
    for slot, data in load.content.items():
        assert after[slot * 65536 :][:32768] == data


def test_detached_nothing_is_under_way(image: Path) -> None:
    with file_disk(image, uring=uring(), direct=True) as disk:
        worker = PlaneWorker("leaving", longest_spin=0)
        worker.start()
        for slot in range(40):
            disk.add(slot, READ, offset=slot * 4096, length=32768)
        worker.attach(disk.engine, watched=disk.engine.watched)
        until(lambda: disk.device.chains, "nothing was begun")
        worker.detach(disk.engine)
        assert disk.device.in_flight == 0
        assert len(disk.collect()) == disk.device.chains
        disk.window.write(disk.at(0), bytes(32768))
        assert disk.window.read(disk.at(0), 32768) == bytes(32768)
        worker.stop()


def test_more_than_the_ring_takes(image: Path) -> None:
    """What is too much waits in the queue, and nobody spins over it."""
    with file_disk(image, uring=Uring(4) if uring() else None, direct=True) as disk:
        worker = PlaneWorker("narrow", longest_spin=0)
        worker.start()
        worker.attach(disk.engine, watched=disk.engine.watched)
        for slot in range(60):
            disk.add(slot, READ, offset=slot * 4096)
        worker.wake()

        def all_back() -> bool:
            disk.collect()
            return len(disk.order) == 60

        until(all_back, "not all came back")
        worker.detach(disk.engine)
        worker.stop()
        assert {disk.window.read(disk.at(slot), 4096) == CONTENT[slot * 4096 :][:4096] for slot in disk.order} == {True}


def test_what_direct_may_be_unable_to_do(image: Path) -> None:
    """Memory that is not aligned: whether that is too much is the storage's to say."""
    with file_disk(image, uring=uring(), direct=True) as disk:
        start = disk.at(0)
        disk.window.write(start - 4096, bytes(16))
        disk.driver.add([(start - 4096, 16)], [(start + 1, 512), (start + 8192, 1)], 0)
        disk.driver.publish()
        disk.settle()
        assert disk.served == [0] or disk.window.read(start + 1, 512) == CONTENT[:512]


def test_the_end_of_the_file_is_left_to_python(disk: FileDisk) -> None:
    os.truncate(disk.file, 8192)
    disk.add(0, READ, offset=4096, length=8192)
    disk.settle()
    assert disk.served == [0]
    assert disk.collect() == [0]


@pytest.mark.parametrize("flags", [0, 1], ids=["keep", "unmap"])
@pytest.mark.parametrize("kind", [DISCARD, WRITE_ZEROES], ids=["discard", "zero"])
def test_ranges_are_given_up_by_the_kernel(disk: FileDisk, kind: int, flags: int) -> None:
    """Where the file system cannot, Python is asked, which has other ways; flags that make no sense are its as well."""
    disk.add_range(0, kind, 65536, 8192, flags=flags)
    disk.settle()
    assert disk.collect() == [0]
    if disk.served:
        assert disk.served == [0]
        return
    assert (kind, flags) != (DISCARD, 1)
    assert disk.status(0) == 0
    assert disk.engine.counters["asynchronous"] == 1
    assert os.pread(disk.file, 16384, 61440) == CONTENT[61440:65536] + bytes(8192) + CONTENT[73728:77824]


def test_ranges_beyond_the_end_are_not(disk: FileDisk) -> None:
    for offset, length in ((LENGTH - 4096, 8192), (LENGTH, 512), (0, 0)):
        disk.add_range(0, WRITE_ZEROES, offset, length)
        disk.settle()
        disk.collect()
    assert disk.served == [0, 0, 0]
    assert os.pread(disk.file, LENGTH, 0) == CONTENT


def test_nothing_else_can_be_done_with_a_ring() -> None:
    """It would pass by the filter of system calls."""
    libc = ctypes.CDLL(None, use_errno=True)
    ring = uring()
    event = ctypes.c_int(0)
    assert libc.syscall(REGISTER, ring.fileno(), REGISTER_EVENTFD, ctypes.byref(event), 1) == -1
    assert ctypes.get_errno() == errno.EACCES


FORBIDDEN = """
import errno, sys
import pyseccomp
from ivshmem_virtio.devices import blk_plane, blk_rings
if sys.argv[1] == "laid in":
    blk_rings.lay_in(2)
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "io_uring_setup")
rules.load()
for aio in ("auto", "io_uring"):
    plane = blk_plane.Plane("disk", queues=2, workers=1, poll="never", cpus=(), aio=aio)
    try:
        plane.start()
        print(aio, plane.ring_of(1) is not None)
    except blk_plane.RingsMissing as error:
        print(aio, error)
    plane.close()
"""


@pytest.mark.parametrize("when", ["laid in", "too late"])
def test_a_process_that_may_not_make_rings(when: str) -> None:
    """It has those it made before, again and again; else it does without, or says what to do."""
    uring()
    done = subprocess.run([sys.executable, "-c", FORBIDDEN, when], capture_output=True, text=True, check=True)
    auto, required = done.stdout.splitlines()
    if when == "laid in":
        assert (auto, required) == ("auto True", "io_uring True")
    else:
        assert auto == "auto False"
        assert required.startswith("io_uring disk disk: no io_uring here (Operation not permitted): set aio")
