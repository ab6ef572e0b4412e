# SPDX-License-Identifier: MIT
"""The static front-end program against our device side, on a folder that looks like its PCI function in sysfs.

Memory, directory, rings and devices are real; the doorbell register is a file that a thread watches. In a guest, with
QEMU's register, tests/vm has it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.console import Console
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.devices.rng import Rng
from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.link.layout import BackendLine, Header
from ivshmem_virtio.link.registers import RegisterMap
from tests.peers.function_folder import OWN_PEER, Function
from tests.peers.plain_region import BACKEND, FRONTEND, PlainRegion
from tests.peers.revision1_backend import Revision1Backend
from tests.peers.served_link import layout_of, served

WINDOW = 1 << 20
SOURCES = Path(__file__).parents[2] / "guest_driver" / "frontend"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as its Makefile says, in a folder of its own."""
    folder = tmp_path_factory.mktemp("frontend")
    for source in SOURCES.iterdir():
        if source.suffix in (".c", ".h") or source.name == "Makefile":
            (folder / source.name).write_bytes(source.read_bytes())
    subprocess.run(["make", "-s", "-C", str(folder)], check=True, capture_output=True)
    return folder / "ivshmem-frontend"


@pytest.fixture
def region() -> Iterator[PlainRegion]:
    made = PlainRegion(WINDOW, backend_vectors=3, frontend_vectors=2)
    yield made
    made.close()


@pytest.fixture
def function(tmp_path: Path, region: PlainRegion) -> Iterator[Function]:
    made = Function(tmp_path / "0000:00:04.0", region)
    yield made
    made.close()


def write_directory(region: PlainRegion, device_id: int) -> None:
    DirectoryWriter(region.memory, os.fstat(region.memory).st_size).set_up([layout_of(region, device_id)])


def run(program: Path, function: Function, *words: str, status: int = 0, seconds: int = 30) -> str:
    """Standard output, or with ``status`` the one line on standard error."""
    command = [str(program), "-d", str(function.folder), "-s", str(seconds), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("ivshmem-frontend: ")
        return done.stderr
    return done.stdout


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(64 * 512))
    return path


@pytest.fixture
def disk(image: Path) -> Device:
    return Blk("plain", path=image, window=WINDOW)


def test_list(program: Path, function: Function, region: PlainRegion, disk: Device) -> None:
    write_directory(region, 2)
    with served(region, disk):
        shown = run(program, function, "list").splitlines()
    assert shown[0].startswith(f"peer {OWN_PEER}, region of ")
    assert shown[1] == f"link 0 plain blk id 2 window {WINDOW} at 0x2000 back-end peer 0 state 1"
    assert (function.folder / "enable").read_text() == "1\n"
    assert not function.rung, "looking must not ring anybody"


def test_read_a_sector(program: Path, function: Function, region: PlainRegion, disk: Device, image: Path) -> None:
    write_directory(region, 2)
    content = image.read_bytes()
    with served(region, disk) as device:
        for sector in (0, 7, 63):
            shown = run(program, function, "blk", "plain", "read", str(sector)).splitlines()
            data = content[sector * 512 :][:512]
            assert shown == [
                f"read sector {sector}",
                f"sha256 {hashlib.sha256(data).hexdigest()}",
                f"data {data.hex()}",
            ]
            assert device.status == 0
            assert region.state(FRONTEND) == 0
        assert "sector 64 of a disk that has 64" in run(program, function, "blk", "0", "read", "64", status=1)
        assert region.state(FRONTEND) == 0, "a failure leaves the link in order, too"


def test_write_a_sector(program: Path, function: Function, region: PlainRegion, disk: Device, image: Path) -> None:
    write_directory(region, 2)
    with served(region, disk):
        run(program, function, "blk", "plain", "write", "9", "hello")
    assert image.read_bytes()[9 * 512 :][:512] == b"hello".ljust(512, b"\0")


def test_read_only_disk(program: Path, function: Function, region: PlainRegion, image: Path) -> None:
    write_directory(region, 2)
    with served(region, Blk("plain", path=image, window=WINDOW, read_only=True)):
        assert "status 1" in run(program, function, "blk", "plain", "write", "9", "hello", status=1)


def test_random_bytes(program: Path, function: Function, region: PlainRegion) -> None:
    write_directory(region, 4)
    with served(region, Rng("plain", window=WINDOW)):
        shown = run(program, function, "rng", "plain", "1300").split()
    drawn = bytes.fromhex("".join(shown[1::2]))
    assert len(drawn) == 1300
    assert len(set(drawn)) > 200


def test_console(program: Path, function: Function, region: PlainRegion, tmp_path: Path) -> None:
    write_directory(region, 3)
    path = tmp_path / "console.sock"
    with (
        served(region, Console("plain", via={"socket": str(path)}, window=WINDOW)),
        socket.socket(socket.AF_UNIX) as end,
    ):
        end.settimeout(30)
        end.connect(str(path))
        answers = threading.Thread(target=lambda: end.sendall(end.makefile("rb").readline().upper()))
        answers.start()
        shown = run(program, function, "console", "plain", "echo", "Hello, host")
        answers.join()
    assert shown.splitlines() == ["sent 12 bytes", "received HELLO, HOST"]


def test_a_backend_of_revision_1(program: Path, function: Function, region: PlainRegion) -> None:
    write_directory(region, 2)
    content = bytearray(os.urandom(64 * 512))
    backend = Revision1Backend(region, content)
    backend.start()
    try:
        assert content[5 * 512 :][:512].hex() in run(program, function, "blk", "plain", "read", "5")
        run(program, function, "blk", "plain", "write", "6", "old friend")
        assert content[6 * 512 :].startswith(b"old friend\0")
        assert all(word < 0x10000 for word in backend.words)
    finally:
        backend.stop()


# What it says when something is missing or wrong: one line, and status 1.


def test_no_directory(program: Path, function: Function) -> None:
    assert "no directory" in run(program, function, "list", status=1, seconds=0)


def test_no_backend(program: Path, function: Function, region: PlainRegion) -> None:
    write_directory(region, 4)
    assert "its state is 0, waiting for 1" in run(program, function, "rng", "plain", "8", status=1, seconds=0)
    assert region.state(FRONTEND) == 0


def test_another_driver_on_the_link(program: Path, function: Function, region: PlainRegion) -> None:
    write_directory(region, 4)
    with served(region, Rng("plain", window=WINDOW)):
        region.set_state(FRONTEND, 1)
        assert "another driver" in run(program, function, "rng", "plain", "8", status=1)
        assert region.state(FRONTEND) == 1
        run(program, function, "-f", "rng", "plain", "8")


def test_wrong_names_and_types(program: Path, function: Function, region: PlainRegion) -> None:
    write_directory(region, 4)
    assert "no link nothing" in run(program, function, "rng", "nothing", "8", status=1)
    assert "carries a rng (id 4), not a blk" in run(program, function, "blk", "plain", "read", "0", status=1)
    assert "must be a number" in run(program, function, "rng", "plain", "many", status=1)


def test_a_function_with_a_driver(program: Path, function: Function, region: PlainRegion, tmp_path: Path) -> None:
    (function.folder / "driver").symlink_to(tmp_path)
    assert "bound to the kernel driver" in run(program, function, "list", status=1)


def test_another_function(program: Path, function: Function) -> None:
    (function.folder / "device").write_text("0x1000\n")
    assert "not a PCI device 1af4:1110" in run(program, function, "list", status=1)


@pytest.mark.parametrize(
    ("offset", "value", "complaint"),
    [
        (0x08, 2, "version 2"),
        (0x0C, 4097, "claims 4097 bytes"),
        (0x14, 1, "of a region of"),
        (0x18, 0xFFFFFFFF, "more than fit"),
        (0x1C, 32, "not 64"),
        (0x40, 1, "still changing"),
        (0x40 + 0x0C, 0x10000, "no such back-end peer"),
        (0x40 + 0x10, 0x1000, "does not lie between"),
        (0x40 + 0x10, 0x2001, "not a multiple"),
        (0x40 + 0x14, 0xFFFFFFFF, "does not lie between"),
        (0x40 + 0x1C, 0xFFFFFFFF, "does not lie between"),
        (0x40 + 0x20, 0, "too small"),
        (0x40 + 0x20, 0xFFFFF000, "does not lie between"),
        (0x40 + 0x24, 0xFFFFF000, "does not lie between"),
        (0x40 + 0x2C, 0, "no such back-end peer or vector"),
    ],
)
def test_a_directory_that_lies(
    program: Path, function: Function, region: PlainRegion, offset: int, value: int, complaint: str
) -> None:
    write_directory(region, 4)
    os.pwrite(region.memory, value.to_bytes(4, "little"), offset)
    assert complaint in run(program, function, "list", status=1)


MAP = RegisterMap.of(0, (64,))
LINE = MAP.backend_line
QUEUE = MAP.queue_line(0)


@pytest.mark.parametrize(
    ("offset", "size", "value", "complaint"),
    [
        (Header.REVISION, 4, 0, "revision is 0"),
        (Header.SIZE, 4, 8, "claims 0x8 bytes"),
        (Header.SIZE, 4, WINDOW, "of a window of"),
        (Header.EXT_OFFSET, 2, 0xFFFF, "outside the reserved"),
        (Header.EXT_OFFSET, 2, 1, "outside the reserved"),
        (LINE + BackendLine.LENGTH, 4, 0xFFFFFFC0, "impossible length"),
        (LINE + BackendLine.EPOCH, 8, 0, "epoch is 0"),
        (LINE + BackendLine.CONFIG_LENGTH, 4, 0xFFFF, "reach into the extension"),
        (LINE + BackendLine.QUEUE_COUNT, 2, 0xFFFF, "do not fit the extension"),
        (QUEUE + 8, 8, WINDOW, "lies outside the reserved part"),
        (QUEUE + 8, 8, 64, "lies outside the reserved part"),
        (QUEUE + 0x10, 4, 0xFFFFFFFF, "lies outside the reserved part"),
        (QUEUE + 0x10, 4, 64, "64 descriptors need"),
    ],
)
def test_a_backend_that_lies(
    program: Path,
    function: Function,
    region: PlainRegion,
    monkeypatch: pytest.MonkeyPatch,
    offset: int,
    size: int,
    value: int,
    complaint: str,
) -> None:
    write_directory(region, 4)
    with served(region, Rng("plain", window=WINDOW)) as transport:
        # One of ours would put its header right for each new front-end.
        monkeypatch.setattr(transport.registers, "restore", lambda *what: None)
        region.store(offset, size, value)
        assert complaint in run(program, function, "rng", "plain", "8", status=1)
        assert region.state(FRONTEND) == 0


def test_a_backend_that_stops(program: Path, function: Function, region: PlainRegion) -> None:
    """Present, with a header, but nobody behind it: the acknowledgement never comes."""
    write_directory(region, 4)
    with served(region, Rng("plain", window=WINDOW)):
        header = region.read(0, 4096)
    region.write(0, header)
    region.set_state(BACKEND, 1)
    assert "does not acknowledge" in run(program, function, "rng", "plain", "8", status=1, seconds=1)
    assert "heartbeat" in run(program, function, "rng", "plain", "8", status=1, seconds=9)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0x2000, 0x3000]), st.integers(0, 0x240 // 4), st.integers(0, 0xFFFFFFFF)),
        min_size=1,
        max_size=5,
    )
)
def test_random_damage_ends_in_order(
    program: Path, function: Function, region: PlainRegion, damage: list[tuple[int, int, int]]
) -> None:
    """Directory, State Table and header full of anything: the program works or says why not; no signal ends it."""
    os.pwrite(region.memory, bytes(0x4000), 0)
    write_directory(region, 4)
    with served(region, Rng("plain", window=WINDOW)):
        for part, word, value in damage:
            os.pwrite(region.memory, value.to_bytes(4, "little"), part + 4 * word)
        command = [str(program), "-d", str(function.folder), "-s", "0", "-f", "rng", "plain", "8"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1)
    assert (done.returncode == 1) == done.stderr.startswith("ivshmem-frontend: ")
