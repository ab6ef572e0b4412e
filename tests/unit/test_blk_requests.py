# SPDX-License-Identifier: MIT
"""Every request type of virtio-blk, in every shape a driver may or may not give it, against a real file."""

from __future__ import annotations

import errno
import itertools
import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.devices import blk_request
from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.blk_image import Image
from tests.devices.driver_rig import DriverRig, Request

SECTORS = 512
SIZE = SECTORS * 512
WINDOW = 1 << 20
OK, IOERR, UNSUPP = b"\0", b"\1", b"\2"
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
CONTENT = random.Random(1).randbytes(SIZE)


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


def segment(sector: int, sectors: int, flags: int = 0) -> bytes:
    return struct.pack("<QII", sector, sectors, flags)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=[False, True], ids=["python", "compiled"])
def rig(image: Path, request: pytest.FixtureRequest) -> Iterator[DriverRig]:
    with DriverRig(Blk("root", path=image, window=WINDOW), window=WINDOW, compiled=request.param) as rig:
        yield rig


@pytest.fixture
def python_rig(image: Path) -> Iterator[DriverRig]:
    """For tests that put something between Python and its system calls."""
    with DriverRig(Blk("root", path=image, window=WINDOW), window=WINDOW) as rig:
        yield rig


@pytest.fixture
def compiled_rig(image: Path) -> Iterator[DriverRig]:
    with DriverRig(Blk("root", path=image, window=WINDOW), window=WINDOW, compiled=True) as rig:
        yield rig


@pytest.fixture(params=[False, True], ids=["python", "compiled"])
def read_only(image: Path, request: pytest.FixtureRequest) -> Iterator[DriverRig]:
    disk = Blk("root", path=image, read_only=True, window=WINDOW)
    with DriverRig(disk, window=WINDOW, compiled=request.param) as rig:
        yield rig


@pytest.mark.parametrize(("sector", "sectors"), [(0, 1), (0, 8), (7, 3), (SECTORS - 1, 1), (0, SECTORS), (SECTORS, 0)])
def test_read_returns_the_bytes_of_the_file(rig: DriverRig, sector: int, sectors: int) -> None:
    reply = rig.request(0, header(IN, sector), [sectors * 512, 1])
    assert reply.data == CONTENT[sector * 512 : (sector + sectors) * 512] + OK
    assert reply.written == sectors * 512 + 1


@pytest.mark.parametrize(("sector", "sectors"), [(0, 1), (5, 64), (SECTORS - 2, 2), (SECTORS, 0)])
def test_write_changes_just_these_bytes_of_the_file(rig: DriverRig, image: Path, sector: int, sectors: int) -> None:
    data = os.urandom(sectors * 512)
    reply = rig.request(0, [header(OUT, sector), data], 1)
    assert (reply.data, reply.written) == (OK, 1)
    assert image.read_bytes() == CONTENT[: sector * 512] + data + CONTENT[(sector + sectors) * 512 :]


@pytest.mark.parametrize(
    ("what", "sector", "length"),
    [
        ("one past the end", SECTORS, 512),
        ("runs over the end", SECTORS - 1, 1024),
        ("far away", 1 << 40, 512),
        ("offset overflows 64 bits", (1 << 55), 512),
        ("sector + length overflows 64 bits", (1 << 64) - 1, 512),
        ("nothing, but past the end", SECTORS + 1, 0),
        ("not whole sectors", 0, 511),
        ("not whole sectors either", 0, 513),
    ],
)
@pytest.mark.parametrize("kind", [IN, OUT])
def test_range_that_is_not_on_the_disk_is_an_error(
    rig: DriverRig, image: Path, kind: int, what: str, sector: int, length: int
) -> None:
    if kind == IN:
        reply = rig.request(0, header(IN, sector), [length, 1])
        assert reply.data == bytes(length) + IOERR, what
        assert reply.written == length + 1
    else:
        reply = rig.request(0, [header(OUT, sector), os.urandom(length)], 1)
        assert (reply.data, reply.written) == (IOERR, 1), what
    assert image.read_bytes() == CONTENT


@pytest.mark.parametrize("indirect", [False, True])
@pytest.mark.parametrize(
    ("cut", "rooms"),
    [
        ([16], [1024, 1]),
        ([1] * 16, [1024, 1]),
        ([4, 4, 8], [1025]),
        ([16], [100, 412, 512, 1]),
        ([3, 13], [1] * 20 + [1005]),
        ([16], [1023, 2]),
    ],
)
def test_read_in_any_descriptor_layout(rig: DriverRig, cut: list[int], rooms: list[int], indirect: bool) -> None:
    head = header(IN, 3)
    parts = [head[sum(cut[:i]) : sum(cut[: i + 1])] for i in range(len(cut))]
    reply = rig.request(0, parts, rooms, indirect=indirect)
    assert reply.data == CONTENT[1536:2560] + OK


@pytest.mark.parametrize("cuts", [(16,), (1040,), (5, 16, 17, 400), tuple(range(10, 1040, 25))])
def test_write_in_any_descriptor_layout(rig: DriverRig, image: Path, cuts: tuple[int, ...]) -> None:
    data = os.urandom(1024)
    whole = header(OUT, 9) + data
    edges = [0, *cuts, len(whole)]
    parts = [whole[a:b] for a, b in itertools.pairwise(edges)]
    reply = rig.request(0, parts, 1)
    assert reply.data == OK
    assert image.read_bytes()[9 * 512 : 11 * 512] == data


@pytest.mark.parametrize("kind", [2, 3, 5, 7, 9, 10, 12, 14, 15, 16, 26, 0x80000000, 0xFFFFFFFF])
def test_unknown_request_is_unsupported(rig: DriverRig, kind: int) -> None:
    assert rig.request(0, header(kind), [512, 1]).data == bytes(512) + UNSUPP


@pytest.mark.parametrize("length", range(16))
def test_short_header_is_an_error(rig: DriverRig, length: int) -> None:
    assert rig.request(0, header(IN)[:length], 1).data == IOERR


@pytest.mark.parametrize("kind", [IN, OUT, FLUSH, 99])
def test_request_without_room_for_a_status_comes_back_with_length_0(rig: DriverRig, image: Path, kind: int) -> None:
    assert rig.request(0, header(kind) + bytes(512)).written == 0
    assert image.read_bytes() == CONTENT


def test_descriptors_that_add_up_to_more_than_the_window_are_an_error(rig: DriverRig) -> None:
    ring = rig.rings[0]
    room = (rig.window.length // 2, rig.window.length // 4)
    head = 4096 * 32
    rig.window.write(head, header(IN))
    request = Request(0, [(head, 16)], [room] * 6)
    ring.outstanding.append(request)
    ring.driver.add(request.readable, request.writable, request)
    ring.driver.publish()
    rig.kick(0)
    rig.collect(0)
    assert (request.done, request.written, request.data[-1:]) == (True, 0, IOERR)


def test_flush_reaches_the_disk(python_rig: DriverRig, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    assert python_rig.request(0, header(FLUSH), 1).data == OK
    assert len(synced) == 1


@pytest.mark.parametrize(
    ("name", "serial", "expected"),
    [
        ("root", None, b"root" + bytes(16)),
        ("a-name-longer-than-twenty-bytes", None, b"a-name-longer-than-t"),
        ("root", "S0123456789012345678", b"S0123456789012345678"),
        ("root", "", bytes(20)),
    ],
)
@pytest.mark.parametrize("room", [0, 7, 20, 64])
def test_get_id(image: Path, name: str, serial: str | None, expected: bytes, room: int) -> None:
    with DriverRig(Blk(name, path=image, serial=serial, window=WINDOW), window=WINDOW) as rig:
        assert rig.request(0, header(GET_ID), [room, 1]).data == expected.ljust(room, b"\0")[:room] + OK


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (DISCARD, segment(8, 64), OK),
        (DISCARD, segment(8, 8) + segment(100, 8), OK),
        (DISCARD, segment(0, 0), OK),
        (DISCARD, segment(0, 8) * 64, OK),
        (DISCARD, segment(0, 8) * 65, IOERR),
        (DISCARD, b"", IOERR),
        (DISCARD, segment(0, 8)[:15], IOERR),
        (DISCARD, segment(0, 8) + b"x", IOERR),
        (DISCARD, segment(0, 8, flags=1), UNSUPP),
        (DISCARD, segment(0, 8, flags=2), UNSUPP),
        (DISCARD, segment(0, 8) + segment(0, 8, flags=0x80000000), UNSUPP),
        (DISCARD, segment(SECTORS, 1), IOERR),
        (DISCARD, segment((1 << 64) - 1, 1), IOERR),
        (DISCARD, segment(0, 0xFFFFFFFF), IOERR),
        (WRITE_ZEROES, segment(8, 64), OK),
        (WRITE_ZEROES, segment(8, 64, flags=1), OK),
        (WRITE_ZEROES, segment(SECTORS - 1, 1) + segment(0, 1), OK),
        (WRITE_ZEROES, segment(0, 8, flags=2), UNSUPP),
        (WRITE_ZEROES, segment(0, 8, flags=3), UNSUPP),
        (WRITE_ZEROES, segment(0, 1) + segment(SECTORS - 1, 2), IOERR),
        (WRITE_ZEROES, segment(0, 1) * 9, IOERR),
        (WRITE_ZEROES, b"", IOERR),
    ],
)
def test_discard_and_write_zeroes(rig: DriverRig, image: Path, kind: int, data: bytes, status: bytes) -> None:
    assert rig.request(0, [header(kind), data], 1).data == status
    expected = bytearray(CONTENT)
    if status == OK:
        for offset in range(0, len(data), 16):
            first, count, _ = struct.unpack_from("<QII", data, offset)
            expected[first * 512 : (first + count) * 512] = bytes(count * 512)
    assert len(image.read_bytes()) == SIZE
    # A discarded range may keep its content (virtio 1.4, 5.2.6.2); on the file systems we know it reads as zeroes.
    assert image.read_bytes() == bytes(expected) or kind == DISCARD


def test_discard_gives_back_storage(rig: DriverRig, image: Path) -> None:
    before = os.stat(image).st_blocks
    assert rig.request(0, [header(DISCARD), segment(0, SECTORS)], 1).data == OK
    after = os.stat(image).st_blocks
    if after == before:
        pytest.skip("the file system under tmp_path does not punch holes; run with --basetemp on ext4, xfs or tmpfs")
    assert after < before


def test_write_zeroes_without_unmap_keeps_storage(rig: DriverRig, image: Path) -> None:
    before = os.stat(image).st_blocks
    assert rig.request(0, [header(WRITE_ZEROES), segment(0, SECTORS)], 1).data == OK
    assert os.stat(image).st_blocks >= before
    assert image.read_bytes() == bytes(SIZE)


@pytest.mark.parametrize("flags", [0, 1])
def test_write_zeroes_where_the_host_cannot_zero_ranges(
    rig: DriverRig, image: Path, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> bool:
        return False

    monkeypatch.setattr("ivshmem_virtio.devices.blk_ranges._try", unsupported)
    assert rig.request(0, [header(WRITE_ZEROES), segment(3, 500, flags)], 1).data == OK
    assert image.read_bytes() == CONTENT[: 3 * 512] + bytes(500 * 512) + CONTENT[503 * 512 :]


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (OUT, bytes(512), IOERR),
        (OUT, b"", IOERR),
        (DISCARD, segment(0, 1), UNSUPP),
        (WRITE_ZEROES, segment(0, 1), UNSUPP),
        (FLUSH, b"", OK),
    ],
)
def test_read_only_disk(read_only: DriverRig, image: Path, kind: int, data: bytes, status: bytes) -> None:
    assert read_only.request(0, [header(kind), data], 1).data == status
    assert image.read_bytes() == CONTENT
    assert read_only.request(0, header(IN), [512, 1]).data == CONTENT[:512] + OK


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    ("call", "request_parts", "room"),
    [
        ("preadv", [header(IN)], [512, 1]),
        ("pwritev", [header(OUT), bytes(512)], [1]),
        ("fdatasync", [header(FLUSH)], [1]),
    ],
)
def test_host_error_is_an_error_for_the_driver(
    python_rig: DriverRig,
    monkeypatch: pytest.MonkeyPatch,
    error: int,
    call: str,
    request_parts: list[bytes],
    room: list[int],
) -> None:
    def fail(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, fail)
    assert python_rig.request(0, request_parts, room).data[-1:] == IOERR
    monkeypatch.undo()
    assert python_rig.request(0, header(IN), [512, 1]).data == CONTENT[:512] + OK


@pytest.mark.parametrize(
    ("path", "flags", "request_parts", "room"),
    [
        ("/dev/null", os.O_WRONLY, [header(IN)], [512, 1]),
        ("/dev/full", os.O_RDWR, [header(OUT), bytes(512)], [1]),
        ("/dev/full", os.O_RDWR, [header(FLUSH)], [1]),
    ],
)
def test_host_error_is_an_error_also_without_python(
    compiled_rig: DriverRig, path: str, flags: int, request_parts: list[bytes], room: list[int]
) -> None:
    """EBADF for a read, ENOSPC for a write, EINVAL for a flush."""
    disk = compiled_rig.device
    assert isinstance(disk, Blk)
    kept, broken = os.dup(disk.image.fd), os.open(path, flags)
    os.dup2(broken, disk.image.fd)
    assert compiled_rig.request(0, request_parts, room).data == bytes(sum(room) - 1) + IOERR
    engine = compiled_rig.rings[0].engine
    assert engine is not None
    assert (engine.counters["unusual"], engine.counters["errors"]) == (1, 1)
    os.dup2(kept, disk.image.fd)
    assert compiled_rig.request(0, header(IN), [512, 1]).data == CONTENT[:512] + OK
    os.close(kept)
    os.close(broken)


def test_ordinary_requests_never_reach_python(compiled_rig: DriverRig) -> None:
    for parts, room in (
        ([header(IN, 3)], [1024, 1]),
        ([header(OUT, 3), bytes(700), bytes(324)], [1]),
        ([header(FLUSH)], [1]),
    ):
        assert compiled_rig.request(0, parts, room, indirect=True).data[-1:] == OK
    engine = compiled_rig.rings[0].engine
    assert engine is not None
    assert (engine.counters["unusual"], engine.counters["errors"]) == (0, 0)


@pytest.mark.parametrize("step", [1, 100, 512, 700])
def test_short_transfers_are_continued(
    python_rig: DriverRig, image: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    def short_read(fd: int, views: list[memoryview], offset: int) -> int:
        return real_read(fd, [views[0][:step]], offset)

    def short_write(fd: int, views: list[memoryview], offset: int) -> int:
        return real_write(fd, [views[0][:step]], offset)

    real_read, real_write = os.preadv, os.pwritev
    monkeypatch.setattr(os, "preadv", short_read)
    monkeypatch.setattr(os, "pwritev", short_write)
    data = os.urandom(2048)
    assert python_rig.request(0, [header(OUT, 1), data[:600], data[600:]], 1).data == OK
    assert python_rig.request(0, header(IN, 1), [1000, 1000, 48, 1]).data == data + OK


def test_more_views_than_iov_max(image: Path) -> None:
    disk = Image(str(image), read_only=False, lock_seconds=0)
    try:
        pieces = [bytearray(16) for _ in range(3000)]
        disk.read([memoryview(piece) for piece in pieces], 0)
        assert b"".join(pieces) == CONTENT[: 3000 * 16]
        disk.write([memoryview(bytes([i % 256]) * 16) for i in range(3000)], 16)
        assert image.read_bytes()[16 : 3001 * 16] == b"".join(bytes([i % 256]) * 16 for i in range(3000))
    finally:
        disk.close()


def test_image_that_shrank_is_an_error_not_an_endless_loop(rig: DriverRig, image: Path) -> None:
    os.truncate(image, 1024)
    assert rig.request(0, header(IN, 1), [1024, 1]).data == bytes(1024) + IOERR
    assert rig.request(0, header(IN, 0), [1024, 1]).data == CONTENT[:1024] + OK


def test_used_length_covers_the_status_even_after_an_error(rig: DriverRig) -> None:
    """Only the first ``len`` bytes count for a driver, so an unread sector before the status comes back as zeroes."""
    reply = rig.request(0, header(IN, SECTORS), [512, 1])
    assert reply.written == len(reply.data) == 513
    assert reply.data == bytes(512) + IOERR


def test_many_random_requests_leave_the_file_as_a_model_says(rig: DriverRig, image: Path) -> None:
    rng = random.Random(7)
    model = bytearray(CONTENT)
    for _ in range(300):
        first = rng.randrange(SECTORS)
        count = rng.randint(0, min(24, SECTORS - first))
        where = slice(first * 512, (first + count) * 512)
        match rng.choice((IN, OUT, WRITE_ZEROES)):
            case 0:
                assert rig.request(0, header(IN, first), [count * 512, 1]).data == bytes(model[where]) + OK
            case 1:
                model[where] = rng.randbytes(count * 512)
                assert rig.request(0, [header(OUT, first), bytes(model[where])], 1).data == OK
            case 13:
                model[where] = bytes(count * 512)
                parts = [header(WRITE_ZEROES), segment(first, count, rng.randint(0, 1))]
                assert rig.request(0, parts, 1).data == OK
    assert image.read_bytes() == bytes(model)


def test_a_full_ring_is_served_in_one_go(rig: DriverRig) -> None:
    requests = [rig.post(0, header(IN, i), [512, 1]) for i in range(128 // 3)]
    rig.kick(0)
    assert rig.collect(0) == requests
    assert all(r.data == CONTENT[i * 512 : i * 512 + 512] + OK for i, r in enumerate(requests))


def test_a_slow_request_does_not_keep_back_those_before_it(
    python_rig: DriverRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned_meanwhile: list[int] = []

    def slow_read(fd: int, views: list[memoryview], offset: int) -> int:
        returned_meanwhile.append(len(python_rig.collect(0)))
        time.sleep(0.005)
        return real_read(fd, views, offset)

    real_read = os.preadv
    monkeypatch.setattr(os, "preadv", slow_read)
    for sector in range(4):
        python_rig.post(0, header(IN, sector), [512, 1])
    python_rig.kick(0)
    assert returned_meanwhile == [0, 1, 1, 1]


def test_limits_on_zeroing_keep_one_request_short() -> None:
    assert blk_request.MAX_ZEROES_SECTORS * blk_request.MAX_ZEROES_SEGMENTS * 512 <= 128 << 20
