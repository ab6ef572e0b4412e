# SPDX-License-Identifier: MIT
"""A back-end that knows nothing but revision 1 works with our driver side, whoever starts first."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from ivshmem_virtio.link.layout import FRONTEND
from ivshmem_virtio.transport.driver.blk import BlkDriver
from ivshmem_virtio.transport.driver.errors import BackendAbsent, BackendLost, QueueMissing
from ivshmem_virtio.transport.driver.transport import DriverTransport
from tests.peers.plain_region import BACKEND, PlainRegion
from tests.peers.revision1_backend import HEADER, QUEUE_SIZE, Revision1Backend
from tests.peers.served_link import link_to

WINDOW = 1 << 18


@pytest.fixture(params=[1, 2, 4])
def region(request: pytest.FixtureRequest) -> Iterator[PlainRegion]:
    made = PlainRegion(WINDOW, backend_vectors=2, frontend_vectors=int(request.param))
    yield made
    made.close()


@pytest.fixture
def backend(region: PlainRegion) -> Iterator[Revision1Backend]:
    made = Revision1Backend(region, bytearray(os.urandom(64 * 512)))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def transport(region: PlainRegion) -> Iterator[DriverTransport]:
    link = link_to(region, FRONTEND, 2)
    made = DriverTransport(link, seconds=60)
    yield made
    made.close()
    link.close()


def test_disk(backend: Revision1Backend, transport: DriverTransport) -> None:
    transport.bring_up()
    disk = BlkDriver(transport)
    assert (transport.backend.revision, transport.backend.size, transport.backend.epoch) == (1, HEADER, 0)
    assert disk.capacity == 64
    assert disk.queues[0].size == QUEUE_SIZE
    assert disk.read(0, 64) == bytes(backend.disk)
    new = os.urandom(3 * 512)
    disk.write(7, new)
    disk.flush()
    assert bytes(backend.disk[7 * 512 : 10 * 512]) == new
    assert disk.identity() == "revision-1 disk"
    for _ in range(50):
        assert disk.read(9, 1) == new[1024:]


def test_several_requests_at_once(backend: Revision1Backend, transport: DriverTransport) -> None:
    transport.bring_up()
    disk = BlkDriver(transport)
    requests = [disk.submit_read(sector, 1) for sector in (3, 60)]
    for request, sector in zip(reversed(requests), (60, 3), strict=True):
        assert disk.finish(request) == bytes(backend.disk[sector * 512 :][:512])


def test_no_word_carries_more_than_an_offset(backend: Revision1Backend, transport: DriverTransport) -> None:
    transport.bring_up()
    BlkDriver(transport)
    transport.reset()
    assert backend.words
    assert all(word < 0x10000 for word in backend.words)


def test_nothing_beyond_the_header_is_written_by_the_driver(
    region: PlainRegion, backend: Revision1Backend, transport: DriverTransport
) -> None:
    """There is no front-end line in revision 1: whatever lies behind the header is buffers, not ours to scribble on."""
    transport.bring_up()
    assert region.read(HEADER, 1024) == bytes(1024)


def test_only_one_queue(backend: Revision1Backend, transport: DriverTransport) -> None:
    transport.bring_up()
    transport.negotiate()
    with pytest.raises(QueueMissing):
        transport.setup_queue(1)


def test_bring_up_again_and_again(backend: Revision1Backend, transport: DriverTransport) -> None:
    """State 0 sends this back-end round its outer loop; a 1 that comes too early must not leave both waiting."""
    for _ in range(8):
        transport.bring_up()
        assert BlkDriver(transport).read(1, 1) == bytes(backend.disk[512:1024])


def test_driver_first(region: PlainRegion, transport: DriverTransport) -> None:
    backend = Revision1Backend(region, bytearray(64 * 512))
    later = threading.Timer(0.3, backend.start)
    later.start()
    try:
        transport.bring_up()
        assert BlkDriver(transport).read(5, 1) == bytes(512)
    finally:
        later.join()
        backend.stop()


def test_backend_that_leaves_is_lost_for_good(
    region: PlainRegion, backend: Revision1Backend, transport: DriverTransport
) -> None:
    transport.bring_up()
    disk = BlkDriver(transport)
    backend.stop()
    with pytest.raises(BackendLost):
        disk.read(0, 1)
    region.set_state(BACKEND, 0)
    transport.seconds = 0.1
    started = time.monotonic()
    with pytest.raises(BackendAbsent):
        transport.bring_up()
    assert time.monotonic() - started < 30


def test_our_whole_driver_claims_nothing_it_cannot_use(backend: Revision1Backend, transport: DriverTransport) -> None:
    transport.bring_up()
    assert transport.capabilities == 0
