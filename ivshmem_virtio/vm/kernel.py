# SPDX-License-Identifier: MIT
"""Stock Debian kernels: image, modules and headers of one series in one unpacked tree of the cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.vm.cache import cache_folder, complete_folder
from ivshmem_virtio.vm.errors import PackageMissing, UnknownKernel
from ivshmem_virtio.vm.packages import Package, fetch_into, resolve, resolve_all

# The packages that follow the newest build of a series, for images and for headers (Debian 12 with its security suite).
_META = {
    "6.1": ("linux-image-cloud-amd64", "linux-headers-cloud-amd64"),
    "6.12": ("linux-image-6.12-cloud-amd64", "linux-headers-6.12-cloud-amd64"),
}
SERIES = tuple(_META)
DEFAULT_SERIES = "6.1"


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: ``release`` is what ``uname -r`` says in the guest, ``version`` the Debian package's."""

    series: str
    release: str
    version: str
    root: Path

    @property
    def image(self) -> Path:
        """The compressed kernel to hand to QEMU."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """Folder of its modules: ``lib/modules/<release>``."""
        return self.root / "lib" / "modules" / self.release

    @property
    def headers(self) -> Path:
        """What ``KDIR`` of an out-of-tree build is."""
        return self.root / "usr" / "src" / f"linux-headers-{self.release}"


def kernel(series: str) -> Kernel:
    """The newest kernel of ``series`` ("6.1" or "6.12") in the configured sources, fetched on first use.

    Without package lists or network the newest one in the cache serves. Raises UnknownKernel and what packages raises.
    """
    if series not in _META:
        raise UnknownKernel(f"kernel series {series!r} is unknown: choose one of {', '.join(SERIES)}")
    try:
        image, headers = (_follow(meta, series) for meta in _META[series])
    except PackageMissing:
        cached = _newest_cached(series)
        if cached is None:
            raise
        return cached
    release = image.name.removeprefix("linux-image-")
    target = _folder() / f"{series}_{release}_{image.version}"
    complete_folder(target, lambda folder: _build_tree(folder, target, image, headers))
    return Kernel(series, release, image.version, target)


def _folder() -> Path:
    folder = cache_folder() / "kernels"
    folder.mkdir(exist_ok=True)
    return folder


def _follow(meta: str, series: str) -> Package:
    """The real package that ``meta`` depends on."""
    kind = "linux-image-" if meta.startswith("linux-image-") else "linux-headers-"
    names = [name for name in resolve(meta).depends if name.startswith(f"{kind}{series}.")]
    if not names:
        raise PackageMissing(
            f"package {meta} does not lead to a {series} kernel: this tooling needs the sources of Debian 12"
        )
    return resolve(names[0])


def _newest_cached(series: str) -> Kernel | None:
    trees = sorted(_folder().glob(f"{series}_*"), key=lambda tree: tree.stat().st_mtime)
    if not trees:
        return None
    _, release, version = trees[-1].name.split("_", 2)
    return Kernel(series, release, version, trees[-1])


def _build_tree(folder: Path, final: Path, image: Package, headers: Package) -> None:
    parts = resolve_all([name for name in headers.depends if re.match(r"linux-(headers-.*-common|kbuild-)", name)])
    fetch_into(folder, [image, headers, *parts])
    # Debian's header makefiles name their place on an installed system.
    for makefile in folder.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text()
        if len(text) < 4096:
            makefile.write_text(text.replace(" /usr/src/", f" {final}/usr/src/"))
