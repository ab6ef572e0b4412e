# SPDX-License-Identifier: MIT
"""Compiles Debian's own kernel source with a small configuration full of checkers, once, into the cache.

``python -m tests.kasan.debug_kernel`` does it and prints the kernel's place. It takes most of an hour on two old cores.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from ivshmem_virtio.vm.cache import cache_folder, complete_folder, exclusive
from ivshmem_virtio.vm.kernel import Kernel
from tests.oracle.kernel_source import PACKAGE, package_file, progress
from tests.oracle.kernel_source import cache_folder as source_folder

SERIES = "6.1-kasan"
CONFIG = Path(__file__).with_name("debug.config")
TOOLS = ("gcc-12", "make", "flex", "bison", "bc", "xz", "dpkg-deb")
# What must have survived the dependencies of Kconfig, or the kernel would check nothing or not boot our module.
ESSENTIAL = (
    *("KASAN", "PROVE_LOCKING", "DEBUG_ATOMIC_SLEEP", "DETECT_HUNG_TASK", "DEBUG_KMEMLEAK", "UBSAN"),
    *("AUXILIARY_BUS", "DMA_OPS", "PCI_MSI", "VIRTIO_BLK", "VIRTIO_NET", "VIRTIO_CONSOLE", "HW_RANDOM_VIRTIO"),
)


class DebugKernelUnavailable(Exception):
    """The kernel could not be compiled here; the message says why and what would help."""


def debug_kernel() -> Kernel:
    """The compiled kernel, from the cache where an earlier run put it. Raises DebugKernelUnavailable."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise DebugKernelUnavailable(f"compiling a kernel needs {', '.join(missing)}: apt-get install them")
    source = source_folder()
    source.mkdir(parents=True, exist_ok=True)
    with exclusive(source / ".download.lock"):
        package = package_file(source)
    version = package.name.split("_")[1]
    key = hashlib.sha256(CONFIG.read_bytes() + version.encode()).hexdigest()[:12]
    root = cache_folder() / "kernels" / f"kasan_{version}_{key}"
    root.parent.mkdir(exist_ok=True)
    complete_folder(root, lambda folder: _build(package, folder, root))
    release = (root / "release").read_text().strip()
    return Kernel(SERIES, release, version, root)


def _build(package: Path, folder: Path, final: Path) -> None:
    """Fills ``folder`` as Debian's packages would: image, modules, and the tree to compile modules against."""
    began = time.monotonic()
    tree = folder / "usr" / "src" / PACKAGE
    tree.parent.mkdir(parents=True)
    progress(f"unpacking {package.name}")
    inner = f"./usr/src/{PACKAGE}.tar.xz"
    _run(f"dpkg-deb --fsys-tarfile {package} | tar -xO {inner} | tar -xJ -C {tree.parent}", folder)
    make = f"nice make -j{os.cpu_count() or 1} CC=gcc-12 HOSTCC=gcc-12 KBUILD_BUILD_TIMESTAMP=0"
    _run(f"{make} tinyconfig && scripts/kconfig/merge_config.sh -m .config {CONFIG} && {make} olddefconfig", tree)
    _check(tree / ".config")
    progress("compiling a kernel with KASAN and lockdep (once, most of an hour on two slow cores)")
    _run(f"{make} bzImage modules", tree)
    release = (tree / "include" / "config" / "kernel.release").read_text().strip()
    (folder / "release").write_text(release)
    (folder / "boot").mkdir()
    shutil.copy2(tree / "arch" / "x86" / "boot" / "bzImage", folder / "boot" / f"vmlinuz-{release}")
    modules = folder / "lib" / "modules" / release
    modules.mkdir(parents=True)
    shutil.copy2(tree / "modules.builtin", modules / "modules.builtin")
    (tree.parent / f"linux-headers-{release}").symlink_to(PACKAGE)
    _run("find . -name '*.o' -not -path './scripts/*' -not -path './tools/*' -delete; rm -f vmlinux vmlinux.o", tree)
    progress(f"kernel {release} compiled in {(time.monotonic() - began) / 60:.0f} min: {final}")


def _check(config: Path) -> None:
    lines = set(config.read_text().splitlines())
    lost = [name for name in ESSENTIAL if f"CONFIG_{name}=y" not in lines]
    if lost:
        raise DebugKernelUnavailable(f"{CONFIG.name} does not lead to CONFIG_{', CONFIG_'.join(lost)}: amend it")


def _run(command: str, folder: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**environment, "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        complaints = [line for line in done.stdout.splitlines() if "rror" in line or "***" in line]
        reason = (complaints or done.stdout.splitlines() or ["no message"])[-1]
        raise DebugKernelUnavailable(f"{command.split()[0]} failed in {folder}: {reason}")


if __name__ == "__main__":
    print(debug_kernel().root)
