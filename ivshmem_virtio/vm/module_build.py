# SPDX-License-Identifier: MIT
"""Compiles the guest module against a kernel's headers, in a copy, so that the checkout and the cache stay clean."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from ivshmem_virtio.vm.cache import complete_folder
from ivshmem_virtio.vm.errors import ModuleBuildFailed, ModuleSourceMissing
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.packages import tool
from ivshmem_virtio.vm.progress import step

MODULE = "virtio_ivshmem"
_SOURCES = ("*.c", "*.h", "Kbuild", "Makefile")


def default_source() -> Path:
    """The module's source in this checkout. Raises ModuleSourceMissing outside one."""
    source = Path(__file__).resolve().parents[2] / "guest_driver"
    if not (source / "Makefile").is_file():
        raise ModuleSourceMissing(f"no guest module source in {source}: run from a source checkout")
    return source


def build_module(kernel: Kernel, source: Path | None = None) -> Path:
    """``virtio_ivshmem.ko`` for ``kernel``, compiled with W=1 and no warning let through; reused while nothing changed.

    Built in ``build/guest_driver`` beside ``source``. Raises ModuleSourceMissing, ModuleBuildFailed, ToolMissing.
    """
    source = source or default_source()
    files = _source_files(source)
    key = f"{kernel.release}-{_digest(kernel, source, files)}"
    folder = source.parent / "build" / "guest_driver" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    complete_folder(folder, lambda temporary: _build(kernel, source, files, temporary))
    return folder / f"{MODULE}.ko"


def _source_files(source: Path) -> list[Path]:
    files = sorted(path for pattern in _SOURCES for path in source.glob(pattern) if not path.name.endswith(".mod.c"))
    if not any(path.suffix == ".c" for path in files):
        raise ModuleSourceMissing(f"no C source of the guest module in {source}")
    return files


def _digest(kernel: Kernel, source: Path, files: list[Path]) -> str:
    digest = hashlib.sha256(f"{kernel.release} {kernel.version}".encode())
    for path in files:
        digest.update(f"\0{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _build(kernel: Kernel, source: Path, files: list[Path], folder: Path) -> None:
    for path in files:
        shutil.copy2(path, folder / path.relative_to(source))
    tool("gcc-12", "gcc-12")
    # No vmlinux is at hand to generate BTF from: the empty variable keeps kbuild from asking for pahole.
    variables = [f"KDIR={kernel.headers}", "W=1", "KCFLAGS=-Werror", "CONFIG_DEBUG_INFO_BTF_MODULES="]
    command = [tool("make", "make"), "-C", str(folder), f"-j{os.cpu_count() or 1}", *variables]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    with step(f"compiling {MODULE} for {kernel.release}"):
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**environment, "LC_ALL": "C.UTF-8"},
        )
    complaint = re.search(
        r"^.*(?:error: |warning: |WARNING: |ERROR: |\*\*\* ).*$", _without_harmless(done.stdout), re.MULTILINE
    )
    if done.returncode != 0 or complaint or not (folder / f"{MODULE}.ko").is_file():
        reason = (
            complaint.group(0).strip().replace(str(folder), str(source))
            if complaint
            else f"make ended with {done.returncode}"
        )
        log = source.parent / "build" / f"module-{kernel.release}.log"
        log.write_text(done.stdout)
        raise ModuleBuildFailed(f"{MODULE} does not build for {kernel.release}: {reason} (log: {log})")


def _without_harmless(output: str) -> str:
    """Drop what kbuild says about the compiler's version string alone; it follows from building on another day."""
    return re.sub(r"^warning: the compiler differs.*\n(?:  .*\n)*", "", output, flags=re.MULTILINE)
