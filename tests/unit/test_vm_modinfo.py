# SPDX-License-Identifier: MIT
"""Kernel modules are read from objects that the assembler makes."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from ivshmem_virtio.vm import modinfo
from ivshmem_virtio.vm.errors import InitrdIncomplete, MalformedModule

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="needs gcc to assemble objects: apt-get install gcc"
)


def make_module(folder: Path, name: str, *fields: str, section: str = ".modinfo") -> Path:
    text = f'.section {section},"a"\n' + "".join(f'.asciz "{field}"\n' for field in fields)
    path = folder / f"{name}.ko"
    subprocess.run(["gcc", "-x", "assembler", "-c", "-o", path, "-"], input=text.encode(), check=True)
    return path


def test_fields_and_dependencies(tmp_path: Path) -> None:
    path = make_module(
        tmp_path, "virtio-rng", "depends=virtio-ring,virtio", "alias=virtio:d4v*", "alias=hwrng", "retpoline=Y"
    )
    elf = modinfo.module_bytes(path)
    assert modinfo.depends(elf) == ["virtio_ring", "virtio"]
    assert modinfo.fields(elf)["alias"] == ["virtio:d4v*", "hwrng"]
    assert modinfo.module_name(path) == "virtio_rng"


def test_compressed_modules_read_the_same(tmp_path: Path) -> None:
    plain = make_module(tmp_path, "a", "depends=")
    packed = tmp_path / "b.ko.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    assert modinfo.module_bytes(packed) == plain.read_bytes()
    assert modinfo.module_name(packed) == "b"
    assert modinfo.depends(modinfo.module_bytes(packed)) == []


def test_each_module_loads_after_what_it_needs(tmp_path: Path) -> None:
    make_module(tmp_path, "top", "depends=left,right")
    make_module(tmp_path, "left", "depends=bottom")
    make_module(tmp_path, "right", "depends=bottom,part")
    make_module(tmp_path, "bottom", "depends=")
    order = modinfo.load_order(tmp_path, ["top", "part"], frozenset({"part"}))
    assert [modinfo.module_name(path) for path in order] == ["bottom", "left", "right", "top"]


def test_modules_that_need_each_other_end(tmp_path: Path) -> None:
    make_module(tmp_path, "a", "depends=b")
    make_module(tmp_path, "b", "depends=a")
    assert len(modinfo.load_order(tmp_path, ["a"], frozenset())) == 2


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    make_module(tmp_path, "a", "depends=absent")
    with pytest.raises(InitrdIncomplete, match="absent"):
        modinfo.load_order(tmp_path, ["a"], frozenset())


@pytest.mark.parametrize("damage", [b"", b"text", b"\x7fELF\x02\x01", b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_module_is_refused(damage: bytes) -> None:
    with pytest.raises(MalformedModule):
        modinfo.fields(damage)


def test_a_truncated_or_foreign_object_is_refused(tmp_path: Path) -> None:
    elf = make_module(tmp_path, "a", "depends=").read_bytes()
    with pytest.raises(MalformedModule):
        modinfo.fields(elf[: len(elf) // 2])
    with pytest.raises(MalformedModule, match="modinfo"):
        modinfo.fields(make_module(tmp_path, "b", "x=y", section=".other").read_bytes())
