# SPDX-License-Identifier: MIT
"""Compiles QEMU's two ivshmem programs, unchanged, against our stand-ins for the few QEMU headers they use."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ivshmem_virtio.vm.errors import VmError
from ivshmem_virtio.vm.packages import tool

from .source import qemu_tree, source_folder

INCLUDE = Path(__file__).parent / "include"


@dataclass(frozen=True)
class Programs:
    """The executables."""

    server: Path
    client: Path


def compile_program(tree: Path, name: str, into: Path) -> Path:
    source = tree / "contrib" / name
    target = into / name
    # Each QEMU source includes osdep.h first; GNU C as QEMU itself is compiled.
    command = [tool("gcc", "gcc"), "-std=gnu11", "-O1", "-g", f"-I{INCLUDE}", f"-I{tree / 'include'}"]
    files = [str(file) for file in sorted(source.glob("*.c"))]
    done = subprocess.run([*command, "-o", str(target), *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} did not compile:\n{done.stderr}"
    return target


def built(into: Path) -> Programs:
    """Both programs, compiled into a folder; skips the test where their source cannot be had."""
    try:
        tree = qemu_tree()
    except VmError as error:
        pytest.skip(f"no QEMU source ({error}); a Debian mirror, or qemu_*.orig.tar.xz in {source_folder()}, runs this")
    return Programs(compile_program(tree, "ivshmem-server", into), compile_program(tree, "ivshmem-client", into))
