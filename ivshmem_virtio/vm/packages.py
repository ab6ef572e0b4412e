# SPDX-License-Identifier: MIT
"""Debian packages, fetched with apt and unpacked into the cache without being installed.

Versions are resolved when asked for, from the configured sources: the archive keeps only its newest ones, so a pinned
version would stop working within weeks. Nothing here needs root, except ``apt-get update`` when the lists are empty.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ivshmem_virtio.vm.cache import cache_folder, complete_folder, exclusive
from ivshmem_virtio.vm.errors import DownloadFailed, PackageMissing, ToolMissing, UnpackFailed
from ivshmem_virtio.vm.progress import step

# The lists are refreshed at most once in a process: a package still missing afterwards is missing.
_UPDATE_HINT = "with Debian 12's main and security suites configured, run 'apt-get update' as root and try again"


@dataclass(frozen=True, slots=True)
class Package:
    """One version of one package as the configured sources offer it; ``size`` of the download in bytes."""

    name: str
    version: str
    architecture: str
    size: int
    depends: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name of its folder in the cache: another version is another folder."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}"


def resolve(name: str) -> Package:
    """The version of ``name`` that apt would install now.

    Raises PackageMissing when no source has it, ToolMissing without apt.
    """
    return resolve_all([name])[0]


def resolve_all(names: Sequence[str]) -> list[Package]:
    """As resolve, for several packages at once."""
    _look_up(names)
    if any(name not in _known for name in names) and _refresh_lists():
        _look_up(names)
    for name in names:
        if name not in _known:
            raise PackageMissing(f"package {name} is in no configured apt source: {_UPDATE_HINT}")
    return [_known[name] for name in names]


def closure(names: Sequence[str]) -> list[Package]:
    """The packages and all they depend on, each once; of alternatives the first, virtual packages left out."""
    found = {package.name: package for package in resolve_all(names)}
    level = set(found)
    while level:
        level = {name for known in level for name in found[known].depends} - set(found)
        _look_up(sorted(level))
        level &= set(_known)
        found.update((name, _known[name]) for name in level)
    return sorted(found.values(), key=lambda package: package.name)


def unpacked(package: Package) -> Path:
    """Folder with the package's files, fetched on first use."""
    return unpack_together(package.key, [package])


def unpack_together(key: str, packages: Sequence[Package]) -> Path:
    """Folder ``key`` of the cache with the files of all ``packages`` in one tree, fetched on first use."""
    target = cache_folder() / "packages" / key
    target.parent.mkdir(parents=True, exist_ok=True)
    return complete_folder(target, lambda folder: fetch_into(folder, packages))


def fetch_into(folder: Path, packages: Sequence[Package]) -> None:
    """Download ``packages`` and unpack them all into ``folder``.

    Raises DownloadFailed, UnpackFailed, ToolMissing.
    """
    megabytes = sum(package.size for package in packages) / 1e6
    first = max(packages, key=lambda package: package.size)
    others = f" and {len(packages) - 1} more" if len(packages) > 1 else ""
    downloads = folder / ".deb"
    downloads.mkdir()
    with step(f"fetching {first.name} {first.version}{others} ({megabytes:.1f} MB)"):
        _download(downloads, packages)
    with step(f"unpacking {first.name}{others}"):
        for archive in sorted(downloads.glob("*.deb")):
            _unpack(archive, folder)
    shutil.rmtree(downloads)


def tool(name: str, package: str) -> str:
    """Path of program ``name``. Raises ToolMissing that names the Debian ``package`` to install."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise ToolMissing(f"program {name} is not installed: 'apt-get install {package}'")
    return path


# What apt said about each package in this process; cleared when the lists change.
_known: dict[str, Package] = {}


def _look_up(names: Sequence[str]) -> None:
    """Ask apt for the packages not yet known, in one call; names it does not know stay unknown."""
    unknown = [name for name in names if name not in _known]
    if not unknown:
        return
    # Reading the lists takes a second; apt keeps the result only where it may write.
    keep = ["-o", f"Dir::Cache::pkgcache={cache_folder() / 'apt.bin'}", "-o", "Dir::Cache::srcpkgcache="]
    command = [tool("apt-cache", "apt"), *keep, "show", "--no-all-versions", "--quiet", *unknown]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_plain_environment())
    for record in done.stdout.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", record, re.MULTILINE))
        # Without lists apt still tells of what is installed, but that cannot be downloaded.
        if "Size" in fields:
            _known[fields["Package"]] = _package(fields)


def _package(fields: dict[str, str]) -> Package:
    wanted = ",".join(fields.get(field, "") for field in ("Pre-Depends", "Depends"))
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        size=int(fields["Size"]),
        depends=tuple(_first_alternative(wish) for wish in wanted.split(",") if wish.strip()),
    )


def _first_alternative(wish: str) -> str:
    """``"libc6 (>= 2.36) | other"`` -> ``"libc6"``."""
    return re.split(r"[\s(|:]", wish.strip(), maxsplit=1)[0]


def _download(folder: Path, packages: Sequence[Package]) -> None:
    done = _apt_download(folder, packages)
    if done.returncode == 0:
        return
    # The archive may have replaced a version since the lists were made: fresh lists show it, to the next run.
    remedy = "package lists are fresh now, so run this again" if _refresh_lists() else "or run 'apt-get update' as root"
    raise DownloadFailed(f"apt-get download failed: {_first_error(done.stderr)}; check the network, {remedy}")


def _apt_download(folder: Path, packages: Sequence[Package]) -> subprocess.CompletedProcess[str]:
    # Root's apt would drop to user _apt, which may not write into a private cache folder.
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    wanted = [f"{package.name}={package.version}" for package in packages]
    command = [tool("apt-get", "apt"), "-qq", *sandbox, "-o", "Acquire::Retries=3", "download", *wanted]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=_plain_environment())


def _unpack(archive: Path, folder: Path) -> None:
    command = [tool("dpkg-deb", "dpkg"), "-x", str(archive), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnpackFailed(f"cannot unpack {archive.name}: {_first_error(done.stderr)}")


@cache
def _refresh_lists() -> bool:
    """Run ``apt-get update`` if we may; whether the lists may have changed."""
    if os.geteuid() != 0:
        return False
    with step("refreshing the package lists"), exclusive(cache_folder() / ".apt.lock"):
        command = [tool("apt-get", "apt"), "-qq", "update"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_plain_environment())
    _known.clear()
    return done.returncode == 0


def _first_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E: ")]
    return (errors or lines or ["no message"])[0].removeprefix("E: ")


def _plain_environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
