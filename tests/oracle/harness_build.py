# SPDX-License-Identifier: MIT
"""Compiles the kernel's two ring files, unchanged, with our harness around them into one test extension."""

import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
HARNESS = HERE / "harness"
ROOT = HERE.parent.parent
MODULE = "exchange"

# As the kernel's tools/virtio/Makefile compiles them, in its folder.
KERNEL_FLAGS = (
    "-I.", "-I../include", "-I../../usr/include", "-include", "../../include/linux/kconfig.h",
    "-Wno-pointer-sign", "-fno-strict-overflow", "-fno-strict-aliasing", "-fno-common", "-U_FORTIFY_SOURCE",
)  # fmt: skip
COMMON_FLAGS = ("-O2", "-g", "-fPIC", "-pthread")


def run(arguments: list[str], folder: Path) -> None:
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments[:1])} failed on {arguments[-1]}:\n{result.stderr}")


def compile_kernel(tree: Path, source: Path, into: Path, *extra: str) -> Path:
    """An object of a file that needs the kernel's user-space headers."""
    target = into / f"{source.stem}.o"
    flags = [*COMMON_FLAGS, *KERNEL_FLAGS, f"-I{HARNESS}", "-Ddata_race(x)=(x)", *extra]
    run(["gcc", *flags, "-o", str(target), "-c", str(source)], tree / "tools/virtio")
    return target


def compile_own(source: Path, into: Path, *extra: str) -> Path:
    target = into / f"{source.stem}.o"
    run(["gcc", *COMMON_FLAGS, *extra, f"-I{HARNESS}", "-o", str(target), "-c", str(source)], into)
    return target


def compile_exchange(into: Path) -> Path:
    source = into / f"{MODULE}.c"
    include = [f"-I{ROOT}", f"-I{ROOT / 'cython_ext'}"]
    cython = [sys.executable, "-m", "cython", "-3", "--module-name", MODULE, *include]
    run([*cython, "-o", str(source), str(HARNESS / f"{MODULE}.pyx")], into)
    python = f"-I{sysconfig.get_path('include')}"
    return compile_own(source, into, python, *include, "-fno-strict-aliasing")


def build(tree: Path, into: Path) -> Path:
    """The extension's file."""
    strict = ("-Wall", "-Wextra", "-Werror")
    prelude = ("-include", str(HARNESS / "kernel_prelude.h"))
    objects = [
        compile_kernel(tree, tree / "drivers/virtio/virtio_ring.c", into, *prelude),
        compile_kernel(tree, tree / "drivers/vhost/vringh.c", into),
        compile_kernel(tree, HARNESS / "kernel_driver.c", into),
        compile_kernel(tree, HARNESS / "kernel_device.c", into),
        compile_own(HARNESS / "kernel_window.c", into, *strict),
        compile_own(HARNESS / "requests.c", into, *strict),
        compile_own(HARNESS / "bell.c", into, *strict),
        compile_exchange(into),
    ]
    target = into / f"{MODULE}{sysconfig.get_config_var('EXT_SUFFIX')}"
    run(["gcc", "-shared", "-pthread", "-o", str(target), *map(str, objects)], into)
    return target
