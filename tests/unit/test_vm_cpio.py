# SPDX-License-Identifier: MIT
"""The archive writer against a reader that follows the kernel's description of the format."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivshmem_virtio.vm.cpio import Archive

Entry = tuple[int, bytes, tuple[int, int]]


def read(compressed: bytes) -> dict[str, Entry]:
    """name -> (mode, data, device) of every member before the trailer."""
    data = gzip.decompress(compressed)
    found: dict[str, Entry] = {}
    inodes = set()
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        numbers = [int(data[position + 6 + 8 * i : position + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, size, name_size = numbers[0], numbers[1], numbers[6], numbers[11]
        name = data[position + 110 : position + 110 + name_size]
        assert name.endswith(b"\0")
        start = (position + 110 + name_size + 3) & ~3
        position = (start + size + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert position == len(data)
            return found
        assert inode not in inodes, "two members of one inode would be hard links"
        inodes.add(inode)
        found[name[:-1].decode()] = (mode, data[start : start + size], (numbers[9], numbers[10]))


@given(st.dictionaries(st.text("abc", min_size=1, max_size=5), st.binary(max_size=40)))
def test_files_come_back(files: dict[str, bytes]) -> None:
    archive = Archive()
    for name, data in files.items():
        archive.file(f"/files/{name}", data, 0o640)
    found = read(archive.compressed())
    assert {name: entry[1] for name, entry in found.items() if stat.S_ISREG(entry[0])} == {
        f"files/{name}": data for name, data in files.items()
    }


def test_every_kind_of_member(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"code")
    program.chmod(0o750)
    (tmp_path / "name").symlink_to("program")
    archive = Archive()
    archive.character_device("dev/console", 5, 1)
    archive.copy("bin/program", program)
    archive.copy("bin/name", tmp_path / "name")
    archive.folder("empty")
    found = read(archive.compressed())
    assert found == {
        "dev": (stat.S_IFDIR | 0o755, b"", (0, 0)),
        "dev/console": (stat.S_IFCHR | 0o600, b"", (5, 1)),
        "bin": (stat.S_IFDIR | 0o755, b"", (0, 0)),
        "bin/program": (stat.S_IFREG | 0o750, b"code", (0, 0)),
        "bin/name": (stat.S_IFLNK | 0o777, b"program", (0, 0)),
        "empty": (stat.S_IFDIR | 0o755, b"", (0, 0)),
    }


def test_parents_come_first_and_names_once() -> None:
    archive = Archive()
    archive.file("a/b/c", b"")
    archive.folder("a/b")
    assert list(read(archive.compressed())) == ["a", "a/b", "a/b/c"]
    with pytest.raises(ValueError, match="already"):
        archive.file("a/b/c", b"")


def test_the_same_input_gives_the_same_bytes() -> None:
    def build() -> bytes:
        archive = Archive()
        archive.file("x", b"y")
        return archive.compressed()

    assert build() == build()
