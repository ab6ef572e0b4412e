# SPDX-License-Identifier: MIT
"""What a kernel module says about itself: the ``.modinfo`` section of its ELF file, compressed or not.

Read here because Debian's unpacked packages hold no ``modules.dep`` (depmod runs when they are installed).
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterable
from pathlib import Path

from ivshmem_virtio.vm.errors import InitrdIncomplete, MalformedModule

_ELF_HEADER = struct.Struct("<16x HHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")


def module_bytes(path: Path) -> bytes:
    """The module's ELF file, decompressed."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def module_name(path: Path) -> str:
    """The name the kernel knows a module file by: ``virtio-rng.ko.xz`` is ``virtio_rng``."""
    return path.name.split(".ko", 1)[0].replace("-", "_")


def fields(elf: bytes) -> dict[str, list[str]]:
    """All ``key=value`` of ``.modinfo``; a key may come more than once. Raises MalformedModule."""
    found: dict[str, list[str]] = {}
    for item in _section(elf, b".modinfo").split(b"\0"):
        key, separator, value = item.partition(b"=")
        if separator:
            found.setdefault(key.decode("ascii", "replace"), []).append(value.decode("utf-8", "replace"))
    return found


def depends(elf: bytes) -> list[str]:
    """Names of the modules that have to be loaded before this one."""
    listed = ",".join(fields(elf).get("depends", []))
    return [name.replace("-", "_") for name in listed.split(",") if name]


def load_order(folder: Path, wanted: Iterable[str], builtin: frozenset[str]) -> list[Path]:
    """Files of ``wanted`` modules and all they depend on, each after its dependencies.

    ``folder`` is a ``lib/modules/<release>``; a wanted module that is built into the kernel is passed over.
    Raises InitrdIncomplete.
    """
    available = {module_name(path): path for path in folder.rglob("*.ko*")}
    ordered: dict[str, Path] = {}
    pending: set[str] = set()

    def visit(name: str) -> None:
        if name in ordered or name in builtin or name in pending:
            return
        if name not in available:
            raise InitrdIncomplete(f"kernel module {name} is not in {folder}")
        pending.add(name)
        for dependency in depends(module_bytes(available[name])):
            visit(dependency)
        ordered[name] = available[name]

    for name in wanted:
        visit(name.replace("-", "_"))
    return list(ordered.values())


def builtin_modules(folder: Path) -> frozenset[str]:
    """Names of the modules that are part of the kernel image (``modules.builtin``)."""
    return frozenset(module_name(Path(line)) for line in (folder / "modules.builtin").read_text().split())


def _section(elf: bytes, name: bytes) -> bytes:
    try:
        if elf[:6] != b"\x7fELF\x02\x01":
            raise MalformedModule("a kernel module is not a 64-bit little-endian ELF file")
        header = _ELF_HEADER.unpack_from(elf)
        table, entry_size, count, names_index = header[5], header[10], header[11], header[12]
        sections = [_SECTION_HEADER.unpack_from(elf, table + index * entry_size) for index in range(count)]
        names = sections[names_index]
        for section in sections:
            start = names[4] + section[0]
            if elf[start : elf.index(b"\0", start)] == name:
                return elf[section[4] : section[4] + section[5]]
    except (struct.error, IndexError, ValueError) as error:
        raise MalformedModule(f"a kernel module's ELF headers are damaged: {error}") from error
    raise MalformedModule(f"a kernel module has no section {name.decode()}")
