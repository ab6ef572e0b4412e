# SPDX-License-Identifier: MIT
"""The vhost-user front-end against a daemon that knows nothing of us: qemu-storage-daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ivshmem_virtio.bench.loaded_disk import Work
from ivshmem_virtio.bench.peer_disk import peer_disk
from ivshmem_virtio.bench.storage_daemon import SOCKET, file_node, storage_daemon
from ivshmem_virtio.bench.suites.blk import fill
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.vhost_user.errors import (
    ConfigReplyInvalid,
    DaemonGone,
    DaemonUnreachable,
    FeaturesMissing,
    SliceInvalid,
    TooFewVrings,
    VringInUse,
    VringOutsideMemory,
)
from ivshmem_virtio.vhost_user.features import HIDDEN, ProtocolFeature
from ivshmem_virtio.vhost_user.front_end import FrontEnd
from ivshmem_virtio.vhost_user.shared_slice import SharedSlice
from ivshmem_virtio.vhost_user.vring import RingPlace
from tests.peers.vhost_disk import DATA, HEADER, IMAGE, READ, STATUS, WINDOW, WRITE, VhostDisk, image_daemon

ROOM = RingPlace(64, 0, 0x1000, 0x2000)


@pytest.fixture
def socket(folder: Path) -> Iterator[Path]:
    with image_daemon(folder):
        yield folder / SOCKET


@pytest.fixture
def disk(socket: Path) -> Iterator[VhostDisk]:
    with closing(VhostDisk(socket)) as disk:
        yield disk


def test_features_and_configuration(disk: VhostDisk) -> None:
    assert disk.front_end.protocol_features == (ProtocolFeature.MQ | ProtocolFeature.REPLY_ACK | ProtocolFeature.CONFIG)
    assert disk.front_end.device_features & Feature.VERSION_1
    assert not disk.front_end.device_features & HIDDEN
    assert disk.front_end.queue_count() >= 1
    capacity = int.from_bytes(disk.front_end.read_config(0, 8), "little")
    assert capacity == len(IMAGE) // 512
    whole = disk.front_end.read_config(0, 32)
    assert whole[:8] == capacity.to_bytes(8, "little")
    with pytest.raises(ConfigReplyInvalid):
        disk.front_end.read_config(250, 16)


def test_data_is_the_files(disk: VhostDisk, folder: Path) -> None:
    disk.start()
    image = folder / "disk.img"
    assert disk.transfer(READ, 3, 8192) == IMAGE[3 * 512 : 3 * 512 + 8192]
    mark = os.urandom(4096)
    disk.transfer(WRITE, 100, mark)
    assert image.read_bytes()[100 * 512 : 100 * 512 + 4096] == mark
    for sector in range(0, 200, 8):
        assert disk.transfer(READ, sector, 4096) == image.read_bytes()[sector * 512 : sector * 512 + 4096]
    disk.front_end.check()


def test_queue_goes_on_where_it_was_stopped(disk: VhostDisk) -> None:
    disk.start()
    for _ in range(5):
        disk.transfer(READ, 0, 512)
    place = disk.vring.place
    assert disk.front_end.stop_vring(0) == 5
    disk.vring = disk.front_end.start_vring(0, place, base=5)
    assert disk.transfer(READ, 1, 512) == IMAGE[512:1024]


@pytest.mark.parametrize(
    ("readable", "writable"),
    [
        ([(HEADER, 16)], [(WINDOW, 512), (STATUS, 1)]),
        ([(HEADER, 16)], [(WINDOW - 256, 512), (STATUS, 1)]),
        ([(WINDOW + 4096, 16)], [(DATA, 512), (STATUS, 1)]),
    ],
    ids=["behind the window", "across its end", "header behind it"],
)
def test_chain_outside_the_slice_ends_the_device(
    disk: VhostDisk, socket: Path, readable: list[tuple[int, int]], writable: list[tuple[int, int]]
) -> None:
    disk.start()
    # Our ring refuses such a chain as well, so it is written by hand, over a descriptor table at 0.
    chain = [(*part, 0) for part in readable] + [(*part, 2) for part in writable]
    for number, (address, length, flags) in enumerate(chain):
        last = number == len(chain) - 1
        words = address | length << 64 | (flags | (0 if last else 1)) << 96 | (0 if last else number + 1) << 112
        disk.window.write(16 * number, words.to_bytes(16, "little"))
    disk.window.store16(disk.vring.place.driver + 4, 0)
    disk.window.store16(disk.vring.place.driver + 2, 1)
    os.eventfd_write(disk.vring.kick, 1)
    disk.await_end()
    with pytest.raises(DaemonGone, match="attach anew"):
        disk.front_end.check()
    assert disk.window.load16(disk.vring.place.device + 2) == 0
    # The daemon itself is well: a new front-end has a device again.
    with closing(VhostDisk(socket)) as again:
        again.start()
        assert again.transfer(READ, 0, 512) == IMAGE[:512]


def test_a_killed_daemon_is_noticed(folder: Path) -> None:
    with image_daemon(folder) as daemon, closing(VhostDisk(folder / SOCKET)) as disk:
        disk.start()
        disk.front_end.check()
        daemon.close()
        disk.await_end()
        with pytest.raises(DaemonGone):
            disk.front_end.check()
        with pytest.raises(DaemonGone):
            disk.front_end.read_config(0, 8)


def test_what_is_refused_before_it_reaches_the_daemon(disk: VhostDisk) -> None:
    with pytest.raises(FeaturesMissing):
        disk.front_end.negotiate(1 << 60)
    disk.start()
    with pytest.raises(VringInUse):
        disk.front_end.start_vring(0, ROOM)
    with pytest.raises(TooFewVrings):
        disk.front_end.start_vring(1, ROOM)
    with pytest.raises(VringInUse):
        disk.front_end.stop_vring(1)
    disk.front_end.stop_vring(0)
    for place in (RingPlace(64, WINDOW - 512, 0, 0), RingPlace(64, 0, WINDOW, 0), RingPlace(64, 0, 0, -8)):
        with pytest.raises(VringOutsideMemory):
            disk.front_end.start_vring(0, place)
    disk.front_end.start_vring(0, ROOM)


def test_memory_must_be_pages_of_the_file() -> None:
    memory = os.memfd_create("vhost-test", os.MFD_CLOEXEC)
    try:
        os.truncate(memory, 8192)
        for offset, length in ((0, 0), (0, 100), (512, 4096), (4096, 8192), (-4096, 4096)):
            with pytest.raises(SliceInvalid):
                SharedSlice(memory, offset, length)
        assert SharedSlice(memory, 4096, 4096).table == (1, 0, 0, 4096, 0x7F00_0000_0000, 4096)
    finally:
        os.close(memory)


def test_nobody_listens(folder: Path) -> None:
    memory = os.memfd_create("vhost-test", os.MFD_CLOEXEC)
    try:
        os.truncate(memory, 4096)
        with pytest.raises(DaemonUnreachable, match="is it running"):
            FrontEnd.connect(folder / "nobody.sock", SharedSlice(memory, 0, 4096))
    finally:
        os.close(memory)


@pytest.mark.parametrize("polled", [True, False])
def test_the_load_reads_what_the_image_holds(folder: Path, polled: bool) -> None:
    image = folder / "marked.img"
    fill(image, 4 << 20)
    with (
        storage_daemon(folder, file_node(image), polls=True),
        peer_disk(folder / SOCKET, "marked") as disk,
    ):
        for work in (Work(1, check=True), Work(128, check=True), Work(16, 65536, sequential=True, check=True)):
            for _ in range(10):
                outcome = disk.run(work, 0.05, polled=polled)
                if polled or outcome.interrupts:  # on a busy machine all may be there before anybody could sleep
                    break
            assert outcome.requests > 0
            assert (outcome.latencies[0] > 0) == (work.depth == 1)
            assert polled == (outcome.interrupts == 0)


def test_the_load_notices_wrong_data(folder: Path) -> None:
    from ivshmem_virtio.bench.errors import RequestsFailed

    with image_daemon(folder), peer_disk(folder / SOCKET, "unmarked") as disk:
        disk.run(Work(1, 512), 0.01, polled=True)
        with pytest.raises(RequestsFailed):
            disk.run(Work(1, 512, check=True), 0.01, polled=True)
