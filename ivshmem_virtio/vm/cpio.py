# SPDX-License-Identifier: MIT
"""Writes a cpio archive in the ``newc`` format, which Linux unpacks as initramfs.

The format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.

An own writer because it must make device nodes without being root, and the same input must give the same bytes.
"""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path, PurePosixPath


class Archive:
    """An archive that grows in memory; parent folders appear by themselves, a later entry of one name is refused."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add folder ``name`` unless it is there."""
        clean = _clean(name)
        if clean and clean not in self._names:
            self._entry(clean, stat.S_IFDIR | mode, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._entry(_clean(name), stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link that reads ``target``."""
        self._entry(_clean(name), stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device node."""
        self._entry(_clean(name), stat.S_IFCHR | mode, b"", (major, minor))

    def copy(self, name: str, source: Path) -> None:
        """Add what ``source`` is: a file with its mode, or a symbolic link as it reads."""
        if source.is_symlink():
            self.link(name, os.readlink(source))
        else:
            self.file(name, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))

    def __contains__(self, name: str) -> bool:
        return _clean(name) in self._names

    def compressed(self) -> bytes:
        """The finished archive, gzip at its fastest: a guest unpacks it in less time than a smaller one."""
        return gzip.compress(b"".join(self._parts) + _member("TRAILER!!!", 0, 0, b"", (0, 0)), compresslevel=1, mtime=0)

    def _entry(self, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        if name in self._names:
            raise ValueError(f"{name} is already in the archive")
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self.folder(parent)
        self._names.add(name)
        self._parts.append(_member(name, len(self._names), mode, data, device))


def _clean(name: str) -> str:
    return str(PurePosixPath(name)).strip("/")


def _member(name: str, inode: int, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    encoded = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
