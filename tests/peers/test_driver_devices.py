# SPDX-License-Identifier: MIT
"""Our driver side as a tool: each kind of device, driven over real doorbells between two threads."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.console import Console
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.rng import Rng
from ivshmem_virtio.link.layout import FRONTEND, Capability
from ivshmem_virtio.transport.driver.blk import BlkDriver
from ivshmem_virtio.transport.driver.console import ConsoleDriver
from ivshmem_virtio.transport.driver.errors import RequestFailed, SectorOutOfRange
from ivshmem_virtio.transport.driver.net import NetDriver
from ivshmem_virtio.transport.driver.queue import Request
from ivshmem_virtio.transport.driver.rng import RngDriver
from ivshmem_virtio.transport.driver.transport import EVERYTHING, DriverTransport, brought_up
from tests.peers.plain_region import PlainRegion
from tests.peers.served_link import link_to, served

WINDOW = 1 << 20
SECTORS = 512


@contextmanager
def driving(
    device: Device, *, vectors: int = 3, capabilities: Capability = EVERYTHING, window: int = WINDOW
) -> Iterator[DriverTransport]:
    """A transport that was brought up with ``device`` on the other side."""
    region = PlainRegion(window, backend_vectors=vectors, frontend_vectors=vectors)
    try:
        with served(region, device):
            link = link_to(region, FRONTEND, device.device_id)
            with brought_up(link, peer_id=1, seconds=30, capabilities=capabilities) as transport:
                yield transport
    finally:
        region.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(SECTORS * 512))
    return path


@pytest.mark.parametrize("vectors", [1, 2, 3])
@pytest.mark.parametrize("host_placed", [True, False])
def test_random_disk_operations_against_a_model(image: Path, vectors: int, host_placed: bool) -> None:
    model = bytearray(image.read_bytes())
    choose = random.Random(vectors)
    with driving(Blk("disk", path=image, queues=2, window=WINDOW), vectors=vectors) as transport:
        disk = BlkDriver(transport, queues=2, host_placed=host_placed)
        assert disk.capacity == SECTORS
        for _ in range(60):
            sector = choose.randrange(SECTORS)
            count = choose.randint(1, min(64, SECTORS - sector))
            if choose.random() < 0.5:
                data = choose.randbytes(count * 512)
                disk.write(sector, data)
                model[sector * 512 : (sector + count) * 512] = data
            else:
                assert disk.read(sector, count) == model[sector * 512 : (sector + count) * 512]
        disk.flush()
    assert image.read_bytes() == bytes(model)


def test_many_requests_in_flight(image: Path) -> None:
    content = image.read_bytes()
    with driving(Blk("disk", path=image, window=WINDOW)) as transport:
        disk = BlkDriver(transport)
        out: dict[Request, int] = {}
        left = list(range(SECTORS))
        seen = 0
        while left or out:
            while left and len(out) < 24:
                sector = left.pop()
                out[disk.submit_read(sector, 1)] = sector
            for request in disk.collect():
                sector = out.pop(request)
                assert request.buffers == [content[sector * 512 :][:512], b"\0"]
                seen += 1
        assert seen == SECTORS
        assert transport.pool.buffers == (0 if transport.capabilities else 1)


def test_disk_errors_have_names(image: Path) -> None:
    with driving(Blk("disk", path=image, read_only=True, window=WINDOW)) as transport:
        disk = BlkDriver(transport)
        assert disk.read_only
        with pytest.raises(RequestFailed, match=r"status 1 \(IOERR\)"):
            disk.write(0, bytes(512))
        with pytest.raises(RequestFailed, match=r"status 2 \(UNSUPP\)"):
            disk.finish(disk.submit(99, 0, b"", 0))
        with pytest.raises(SectorOutOfRange, match="sectors 512 to 512 of a disk that has 512"):
            disk.read(SECTORS, 1)
        with pytest.raises(SectorOutOfRange, match="not a whole number"):
            disk.write(0, b"odd")


def test_entropy() -> None:
    with driving(Rng("rng", window=WINDOW)) as transport:
        source = RngDriver(transport)
        drawn = source.read(100_000)
        assert len(drawn) == 100_000
        assert len(set(drawn)) == 256


@pytest.mark.parametrize("capabilities", [EVERYTHING, Capability(0)])
def test_console_both_ways(tmp_path: Path, capabilities: Capability) -> None:
    path = tmp_path / "port.sock"
    text = random.Random(1).randbytes(20_000)
    with driving(Console("port", via={"socket": str(path)}, window=WINDOW), capabilities=capabilities) as transport:
        port = ConsoleDriver(transport)
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(30)
            end.connect(str(path))
            echo = threading.Thread(target=_echo, args=(end, len(text)))
            echo.start()
            received = bytearray()
            for start in range(0, len(text), 2000):
                port.send(text[start : start + 2000])
                while len(received) < start + 2000:
                    received += port.receive()
            echo.join()
    assert received == text


def _echo(end: socket.socket, length: int) -> None:
    while length:
        data = end.recv(length)
        end.sendall(data)
        length -= len(data)


def test_frames_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "network.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    listener.settimeout(30)
    mac = b"\x52\x54\x00\x01\x02\x03"
    frames = [random.Random(i).randbytes(60 + 14 * i) for i in range(100)]
    device = Net("uplink", via={"stream": str(path)}, mac="52:54:00:01:02:03", window=WINDOW)
    with listener, driving(device) as transport:
        interface = NetDriver(transport)
        assert interface.mac == mac
        end, _ = listener.accept()
        with end:
            end.settimeout(30)
            for frame in frames:
                interface.send(frame)
                assert _frame_from(end) == frame
            received: list[bytes] = []
            for frame in frames:
                end.sendall(struct.pack(">I", len(frame)) + frame)
                received += interface.receive()
            while len(received) < len(frames):
                received += interface.receive()
    assert received == frames


def _frame_from(end: socket.socket) -> bytes:
    """One frame of the stream: its length in four bytes, the most significant first, then its bytes."""
    stream = end.recv(4, socket.MSG_WAITALL)
    return end.recv(struct.unpack(">I", stream)[0], socket.MSG_WAITALL)
