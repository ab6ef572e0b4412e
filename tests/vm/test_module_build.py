# SPDX-License-Identifier: MIT
"""Modules are compiled against the unpacked headers, once for each source, and a warning is an error."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ivshmem_virtio.vm import modinfo
from ivshmem_virtio.vm.errors import ModuleBuildFailed, ModuleSourceMissing
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.module_build import build_module, default_source
from tests.vm.conftest import BootGuest

SOURCE = """\
#include <linux/module.h>
static int __init start(void)
{
	pr_info("trial module is here\\n");
	return 0;
}
static void __exit end(void)
{
}
module_init(start);
module_exit(end);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("trial");
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A module of the name, and with the Makefile, of ours; the rest is its own."""
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "Makefile").write_bytes((default_source() / "Makefile").read_bytes())
    (folder / "Kbuild").write_text("obj-m := virtio_ivshmem.o\n")
    (folder / "virtio_ivshmem.c").write_text(SOURCE)
    return folder


def test_a_module_is_built_once_and_loads(kernel: Kernel, source: Path, boot: BootGuest) -> None:
    built = build_module(kernel, source)
    assert kernel.release in modinfo.fields(built.read_bytes())["vermagic"][0]
    assert sorted(path.name for path in source.iterdir()) == ["Kbuild", "Makefile", "virtio_ivshmem.c"]
    before = built.stat().st_mtime_ns
    assert build_module(kernel, source) == built
    assert built.stat().st_mtime_ns == before
    guest = boot(initrd=build_initrd(kernel, built))
    assert "trial module is here" in guest.dmesg()
    (source / "virtio_ivshmem.c").write_text(SOURCE.replace("is here", "is there"))
    assert build_module(kernel, source) != built


def test_warnings_and_errors_fail_in_one_line(kernel: Kernel, source: Path) -> None:
    (source / "virtio_ivshmem.c").write_text(SOURCE.replace("return 0;", "int unused; return 0;"))
    with pytest.raises(ModuleBuildFailed, match="unused variable") as caught:
        build_module(kernel, source)
    assert "\n" not in str(caught.value)
    (source / "virtio_ivshmem.c").write_text(SOURCE.replace('MODULE_LICENSE("GPL");', ""))
    with pytest.raises(ModuleBuildFailed, match="LICENSE"):
        build_module(kernel, source)


def test_no_source(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(ModuleSourceMissing, match="no C source"):
        build_module(kernel, tmp_path)


def test_the_cache_is_left_as_it_was_unpacked(kernel: Kernel, source: Path) -> None:
    build_module(kernel, source)
    found = subprocess.run(
        ["find", kernel.headers, "-newer", source / "Makefile", "-type", "f"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == ""
