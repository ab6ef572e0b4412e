# SPDX-License-Identifier: MIT
"""Brings the kernel's ring code onto this machine, from Debian's own source package, and keeps it for the next run.

None of it is part of this project: it is GPL-2.0, compiled for the tests only, and lives in the user's cache.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ivshmem_virtio.vm.cache import complete_folder, exclusive

PACKAGE = "linux-source-6.1"

# What compiling the two ring files in user space takes; the rest of the kernel stays packed.
WANTED = ("tools/virtio", "tools/include", "drivers/virtio", "drivers/vhost", "include", "usr/include")


class KernelSourceUnavailable(Exception):
    """The package could not be fetched or unpacked; the message says why and what would help."""


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ivshmem-virtio" / PACKAGE


def progress(line: str) -> None:
    print(f"== {line}", file=sys.__stderr__, flush=True)


def run(arguments: list[str], folder: Path) -> None:
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
        raise KernelSourceUnavailable(f"{arguments[0]} failed: {' '.join(reason)}")


def package_file(folder: Path) -> Path:
    """The package, downloaded unless it is there."""
    found = sorted(folder.glob(f"{PACKAGE}_*.deb"))
    if not found:
        if not shutil.which("apt-get"):
            raise KernelSourceUnavailable(f"no apt-get here to download {PACKAGE}; put the package into {folder}")
        progress(f"downloading {PACKAGE} (about 140 MB, once) into {folder}")
        run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", PACKAGE], folder)
        found = sorted(folder.glob(f"{PACKAGE}_*.deb"))
    return found[-1]


def unpack(package: Path, into: Path) -> None:
    progress(f"unpacking the ring code of {package.name}")
    members = " ".join(f"{PACKAGE}/{name}" for name in WANTED)
    inner = f"./usr/src/{PACKAGE}.tar.xz"
    command = f"dpkg-deb --fsys-tarfile {package} | tar -xO {inner} | tar -xJ -C {into} {members}"
    run(["bash", "-o", "pipefail", "-c", command], into)


def kernel_tree() -> Path:
    """Root of an unpacked part of the kernel source, complete, from the cache where possible."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes, and all of them come here at once when the cache is empty.
    with exclusive(folder / ".download.lock"):
        package = package_file(folder)
    return complete_folder(folder / package.stem, lambda partial: unpack(package, partial)) / PACKAGE
