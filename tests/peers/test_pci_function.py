# SPDX-License-Identifier: MIT
"""User space in a guest: a sysfs folder made of real files, its BARs sparse files that a test looks into."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.directory import DirectoryWriter
from ivshmem_virtio.link.directory_errors import DirectoryAbsent
from ivshmem_virtio.link.layout import PAGE_SIZE, LinkLayout
from ivshmem_virtio.peer import errors
from ivshmem_virtio.peer.pci import PciFunction, find_functions, the_function
from ivshmem_virtio.peer.recheck_timer import recheck_timer

from .raw_client import readable

SIZE = 1 << 20
LINKS = [
    LinkLayout("a", 2, 2 * PAGE_SIZE, 4 * PAGE_SIZE, 0, 3, 4, 2, 77),
    LinkLayout("b", 1, 8 * PAGE_SIZE, 4 * PAGE_SIZE, 3, 3, 6, 2, 78),
]


def make_function(folder: Path, address: str, vendor: str = "0x1af4", device: str = "0x1110") -> Path:
    """A function as sysfs shows it."""
    function = folder / address
    function.mkdir()
    (function / "vendor").write_text(f"{vendor}\n")
    (function / "device").write_text(f"{device}\n")
    (function / "enable").write_text("0\n")
    lines = ["0x00000000febf1000 0x00000000febf10ff 0x0000000000040200", "0x0 0x0 0x0"]
    lines += [f"0x00000000fe000000 {0xFE000000 + SIZE - 1:#018x} 0x000000000014220c"]
    (function / "resource").write_text("\n".join(lines) + "\n")
    (function / "resource0").write_bytes(bytes(8) + struct.pack("<I", 5) + bytes(244))
    with (function / "resource2").open("wb") as memory:
        memory.truncate(SIZE)
    return function


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A folder as /sys/bus/pci/devices, with a network card in it."""
    make_function(tmp_path, "0000:00:02.0", device="0x1000")
    return tmp_path


@pytest.fixture
def function(devices: Path) -> Iterator[PciFunction]:
    """One function, opened."""
    make_function(devices, "0000:00:05.0")
    with PciFunction(the_function(devices=devices)) as opened:
        yield opened


def doorbell(function: PciFunction) -> tuple[int, int]:
    """What was last written to the doorbell register: target and vector."""
    value = struct.unpack("<I", (function.folder / "resource0").read_bytes()[12:16])[0]
    return value >> 16, value & 0xFFFF


def test_functions_are_found_by_their_ids(devices: Path) -> None:
    assert find_functions(devices) == []
    second, first = make_function(devices, "0000:00:06.0"), make_function(devices, "0000:00:05.0")
    (devices / "0000:00:07.0").mkdir()
    assert find_functions(devices) == [first, second]
    assert the_function("0000:00:06.0", devices) == second
    assert find_functions(devices / "missing") == []


def test_udev_and_sysfs_agree_on_this_machine() -> None:
    by_sysfs = {folder.resolve() for folder in find_functions(Path("/sys/bus/pci/devices"))}
    assert {folder.resolve() for folder in find_functions()} == by_sysfs


def test_registers(function: PciFunction) -> None:
    assert (function.folder / "enable").read_text() == "1"
    assert function.peer_id == 5
    assert function.memory_size == SIZE
    function.doorbell(300, 7)
    assert doorbell(function) == (300, 7)
    function.doorbell(65535, 65535)
    assert doorbell(function) == (65535, 65535)


def test_links_of_the_directory(function: PciFunction) -> None:
    with pytest.raises(DirectoryAbsent):
        function.links()
    DirectoryWriter(function.memory, SIZE).set_up(LINKS)
    links = function.links(period=0.001)
    for link, layout in zip(links, LINKS, strict=True):
        assert (link.layout, link.index, link.vectors) == (layout, 1, 1)
        assert link.window.length == layout.rw_size
        link.set_state(1)
        assert os.pread(function.memory, 8, layout.offset) == bytes(4) + b"\1\0\0\0"
        assert doorbell(function) == (layout.backend_peer, layout.backend_vector)
        link.ring(1)
        assert doorbell(function) == (layout.backend_peer, layout.backend_vector + 1)
        link.ring(2)
        assert doorbell(function) == (layout.backend_peer, layout.backend_vector + 1), "the link has two"
        os.pwrite(function.memory, b"\2", layout.offset)
        assert link.other_state() == 2
        assert link.other_peer_is(layout.backend_peer)
        assert not link.other_peer_is(5)
        for _ in range(3):
            assert readable(link.fileno(0))
            link.acknowledge(0)
        link.acknowledge(0)
        link.close()


def test_removed_links_are_not_offered(function: PciFunction) -> None:
    writer = DirectoryWriter(function.memory, SIZE)
    writer.set_up(LINKS)
    writer.begin_removal("a")
    assert function.layouts() == LINKS[1:]


def bind(function: Path, driver: str) -> None:
    (function.parent / driver).mkdir()
    (function / "driver").symlink_to(function.parent / driver)


def resource(function: Path, line: str) -> None:
    lines = (function / "resource").read_text().splitlines()
    (function / "resource").write_text("\n".join([line, *lines[1:]]))


BROKEN: list[tuple[str, Callable[[Path], object], type[IvshmemVirtioError], str]] = [
    ("another device", lambda f: (f / "device").write_text("0x1000"), errors.NoPciFunction, "0000:00:05.0"),
    ("driver bound", lambda f: bind(f, "virtio_ivshmem"), errors.PciFunctionBusy, "virtio_ivshmem"),
    ("no BAR 0", lambda f: (f / "resource0").unlink(), errors.PciResourceUnusable, "BAR 0"),
    ("no BAR 2", lambda f: (f / "resource2").unlink(), errors.PciResourceUnusable, "BAR 2"),
    ("BAR 0 without address", lambda f: resource(f, "0x0 0x0 0x0"), errors.PciResourceUnusable, "no address"),
    ("BAR 0 inside a page", lambda f: resource(f, "0xfeb0100 0xfeb01ff 0x0"), errors.PciResourceUnusable, "0xfeb0100"),
    ("BAR 0 too small", lambda f: resource(f, "0xfeb1000 0xfeb101f 0x0"), errors.PciResourceUnusable, "32 bytes"),
    ("no resource file", lambda f: (f / "resource").unlink(), errors.PciResourceUnusable, "BAR 0"),
    ("garbage resources", lambda f: (f / "resource").write_text("x"), errors.PciResourceUnusable, "BAR 0"),
    ("registers file empty", lambda f: (f / "resource0").write_bytes(b""), errors.PciResourceUnusable, "BAR 0"),
    ("cannot enable", lambda f: (f / "enable").write_text("?"), errors.PciResourceUnusable, "enable"),
]


@pytest.mark.parametrize(("what", "spoil", "error", "says"), BROKEN, ids=[row[0] for row in BROKEN])
def test_unusable_functions(
    devices: Path, what: str, spoil: Callable[[Path], object], error: type[IvshmemVirtioError], says: str
) -> None:
    folder = make_function(devices, "0000:00:05.0")
    spoil(folder)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error, match=says) as caught:
        PciFunction(folder)
    assert "\n" not in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_uio_pci_generic_is_in_nobodys_way(devices: Path) -> None:
    folder = make_function(devices, "0000:00:05.0")
    bind(folder, "uio_pci_generic")
    PciFunction(folder).close()


CHOICES = [(None, 0, "there are: none"), (None, 2, "several"), ("0000:00:09.0", 1, "at 0000:00:09.0")]


@pytest.mark.parametrize(("address", "count", "says"), CHOICES)
def test_choosing_a_function(devices: Path, address: str | None, count: int, says: str) -> None:
    for number in range(count):
        make_function(devices, f"0000:00:0{5 + number}.0")
    with pytest.raises(errors.NoPciFunction, match=says):
        the_function(address, devices)


@pytest.mark.parametrize("period", [0.001, 0.05, 1.0])
def test_timer_comes_again_and_again(period: float) -> None:
    timer = recheck_timer(period)
    began = time.monotonic()
    try:
        for _ in range(2):
            assert readable(timer)
            os.read(timer, 8)
        assert time.monotonic() - began >= 1.9 * period
    finally:
        os.close(timer)
