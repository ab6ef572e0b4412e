# SPDX-License-Identifier: MIT
"""The entropy source: every request gets bytes, from the configured place, no faster than configured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.devices.rng import MOST_AT_ONCE, EntropySourceUnusable, Rng
from tests.devices.driver_rig import DriverRig

WINDOW = 1 << 20
SIZE = 4096


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "entropy"
    path.write_bytes(bytes(range(256)) * 16)
    return path


def test_identity() -> None:
    rng = Rng("rng", queue_size=16, window=WINDOW)
    assert (rng.device_id, rng.features, rng.config, list(rng.queue_sizes)) == (4, 0, b"", [16])


def test_bytes_are_random() -> None:
    with DriverRig(Rng("rng", window=WINDOW), window=WINDOW) as rig:
        replies = [rig.request(0, writable=64) for _ in range(50)]
    assert all(reply.written == 64 for reply in replies)
    assert len({reply.data for reply in replies}) == 50
    ones = sum(int.from_bytes(reply.data, "little").bit_count() for reply in replies)
    assert abs(ones - 50 * 64 * 4) < 800, "ten standard deviations"


@pytest.mark.parametrize("rooms", [[1], [7, 1, 300], [1] * 40, [4000]])
def test_source_fills_any_layout_in_order(source: Path, rooms: list[int]) -> None:
    expected = source.read_bytes()
    with DriverRig(Rng("rng", source=str(source), window=WINDOW), window=WINDOW) as rig:
        reply = rig.request(0, writable=rooms)
    assert reply.written == sum(rooms)
    assert reply.data == expected[: sum(rooms)]


def test_large_request_gets_a_part() -> None:
    with DriverRig(Rng("rng", window=WINDOW), window=WINDOW) as rig:
        reply = rig.request(0, writable=2 * MOST_AT_ONCE)
    assert reply.written == MOST_AT_ONCE
    assert reply.data[MOST_AT_ONCE:] == b"\xee" * MOST_AT_ONCE


def test_request_without_room_comes_back_empty() -> None:
    with DriverRig(Rng("rng", window=WINDOW), window=WINDOW) as rig:
        assert rig.request(0, b"readable").written == 0
        assert rig.request(0, b"readable", 8).written == 8


@pytest.mark.parametrize("content", [b"", b"short"])
def test_source_that_ends_is_replaced(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "short"
    path.write_bytes(content)
    rng = Rng("rng", source=str(path), window=WINDOW)
    with DriverRig(rng, window=WINDOW) as rig:
        replies = [rig.request(0, writable=32) for _ in range(5)]
    assert replies[0].data[: len(content)] == content
    assert all(reply.written > 0 for reply in replies)
    assert len({reply.data for reply in replies}) == 5
    assert rng.source == "/dev/urandom"
    assert sum("came to its end" in record.message for record in caplog.records) == 1


def test_source_that_fails_is_replaced(tmp_path: Path) -> None:
    with DriverRig(Rng("rng", source=str(tmp_path), window=WINDOW), window=WINDOW) as rig:  # reading a directory fails
        assert rig.request(0, writable=32).written == 32


def test_slow_source_is_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "generator"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        with DriverRig(Rng("rng", source=str(fifo), window=WINDOW), window=WINDOW) as rig:
            for _ in range(3):
                rig.post(0, writable=4)
            rig.kick(0)
            rig.kick(0)
            assert rig.collect(0) == []
            os.write(writer, b"abcdef")
            assert [r.data[: r.written] for r in rig.wait_for(0, 2)] == [b"abcd", b"ef"]
            os.write(writer, b"g")
            assert [r.data[: r.written] for r in rig.wait_for(0)] == [b"g"]
            rig.post(0, writable=4)
            rig.kick(0)
            rig.device.deactivate()
            os.write(writer, b"unwanted")
            rig.run_for(0.05)
            assert rig.collect(0) == []
    finally:
        os.close(writer)


def test_more_requests_than_one_pass_serves(source: Path) -> None:
    with DriverRig(Rng("rng", queue_size=4, window=WINDOW), window=WINDOW) as rig:
        for _ in range(4):
            rig.post(0, writable=8)
        rig.kick(0)
        assert len(rig.collect(0)) == 4
        rig.run_for(0.01)
        assert rig.request(0, writable=8).written == 8


def test_rate_is_kept() -> None:
    with DriverRig(Rng("rng", bytes_per_second=2000, window=WINDOW), window=WINDOW) as rig:
        started = time.monotonic()
        got = rig.request(0, writable=SIZE).written
        assert got == 2000, "one second's worth may be drawn at once"
        while got < 2800:
            rig.post(0, writable=SIZE)
            rig.kick(0)
            got += sum(r.written for r in rig.wait_for(0))
        assert time.monotonic() - started > 0.35


@pytest.mark.parametrize(
    ("options", "words"),
    [({"source": "/nowhere/random"}, "/nowhere/random: No such file"), ({"bytes_per_second": 9}, "10 is the least")],
)
def test_options_that_make_no_source(options: dict[str, Any], words: str) -> None:
    with pytest.raises(EntropySourceUnusable, match=words):
        DriverRig(Rng("rng", window=WINDOW, **options), window=WINDOW)


def test_more_parts_than_one_read_takes(source: Path) -> None:
    """The source is not to blame for how a driver cuts its buffers."""
    expected = source.read_bytes()
    with DriverRig(Rng("rng", source=str(source), queue_size=4096, window=WINDOW), window=WINDOW) as rig:
        reply = rig.request(0, writable=[1] * 2048)
        assert 0 < reply.written <= 2048
        assert reply.data[: reply.written] == expected[: reply.written]
        assert rig.request(0, writable=16).data == expected[reply.written : reply.written + 16]
