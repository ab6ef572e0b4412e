# SPDX-License-Identifier: MIT
"""A back-end gives up what it does not need: files (Landlock), system calls (seccomp), new privileges."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from landlockpy import AccessFS, LandlockError, Ruleset, Scope, abi_version

from ivshmem_virtio.devices.resource import Access, Resource
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.system_calls import allow_only_needed

log = logging.getLogger("ivshmem_virtio.confinement")

WRITABLE_VARIABLE = "IVSHMEM_VIRTIO_WRITABLE"
"""Environment: folders that every back-end may write besides, separated by colons (profilers, coverage data)."""

_READ = AccessFS.READ_FILE | AccessFS.READ_DIR
_WRITE = AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.TRUNCATE | AccessFS.IOCTL_DEV
_MAKE = AccessFS.MAKE_REG | AccessFS.MAKE_FIFO | AccessFS.MAKE_SOCK | AccessFS.MAKE_SYM
_FOLDER = _WRITE | _READ | _MAKE | AccessFS.REMOVE_FILE | AccessFS.RESOLVE_UNIX
_ON_PATH = {
    Access.READ: AccessFS.READ_FILE | AccessFS.IOCTL_DEV,
    Access.WRITE: _WRITE,
    Access.CREATE: _WRITE,
    Access.FOLDER: _FOLDER,
    Access.CONNECT: AccessFS.RESOLVE_UNIX,
    Access.LISTEN: AccessFS.RESOLVE_UNIX,
}
_IN_FOLDER = {
    Access.CONNECT: AccessFS.RESOLVE_UNIX,
    Access.LISTEN: AccessFS.MAKE_SOCK | AccessFS.REMOVE_FILE | AccessFS.RESOLVE_UNIX,
    Access.LINK: AccessFS.MAKE_SYM | AccessFS.REMOVE_FILE,
}
_FIXED = {Access.READ, Access.WRITE, Access.CREATE}
"""Kinds of access that are given to one file."""
_FOR_EVERYBODY = (
    Resource("/dev/null", Access.WRITE),
    Resource("/dev/urandom", Access.READ),
    Resource("/etc/localtime", Access.READ),
    Resource("/proc/self", Access.READ),
)


class ConfinementFailed(IvshmemVirtioError):
    """The kernel refused to confine a back-end although it knows how to."""


class Rights:
    """What a process may still open. The kernel gives rights to files, not to names."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._files = {resource.path: _file_at(resource.path) for resource in resources}

    def stale(self) -> str | None:
        """A path at which there is another file now, which this process may not open."""
        now = ((path, _file_at(path)) for path in self._files)
        return next((path for path, file in now if file is not None and file != self._files[path]), None)


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def confine(resources: Sequence[Resource], folders: Sequence[Path]) -> Rights:
    """Keep this thread, and all it starts from now on, to ``resources``, whole ``folders`` and Python's own files.

    Where the kernel lacks Landlock (before 5.13, or not enabled) a warning says so; the rest is done all the same.
    Raises ConfinementFailed.
    """
    rights = Rights([resource for resource in resources if resource.access in _FIXED])
    try:
        _restrict_files(resources, folders)
        allow_only_needed()
    except (LandlockError, OSError) as error:
        raise ConfinementFailed(f"the back-end cannot confine itself: {error}; confine = false goes without") from None
    return rights


def _restrict_files(resources: Sequence[Resource], folders: Sequence[Path]) -> None:
    if not _landlock_works():
        log.warning("this kernel has no Landlock: the back-end keeps its access to files of other guests")
        return
    with Ruleset(scoped=Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET) as ruleset:
        for folder in _python_folders():
            _allow(ruleset, folder, _READ)
        for folder in (*folders, *_extra_folders()):
            _allow(ruleset, folder, _FOLDER)
        for resource in (*_FOR_EVERYBODY, *resources):
            path = Path(resource.path)
            if resource.access is Access.CREATE:
                _make(path)
            _allow(ruleset, path, _ON_PATH.get(resource.access, AccessFS.NONE))
            _allow(ruleset, path.parent, _IN_FOLDER.get(resource.access, AccessFS.NONE))
        ruleset.restrict()


def _landlock_works() -> bool:
    try:
        return abi_version() > 0
    except LandlockError:
        return False


def _allow(ruleset: Ruleset, path: Path, access: AccessFS) -> None:
    """Grant it; to a file, only what makes sense there. What is missing is for the device to report."""
    if not access or not path.exists():
        return
    if not path.is_dir():
        access &= _WRITE | AccessFS.RESOLVE_UNIX
    if access:
        ruleset.allow_path(path, access)


def _make(path: Path) -> None:
    """Rights are given to files that are there. That it cannot be made is for the device to report."""
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o640))


def _python_folders() -> Iterator[Path]:
    """Where modules and shared libraries come from: some are loaded late."""
    yield from {Path(sys.prefix), Path(sys.base_prefix) / "lib", Path("/lib"), Path("/lib64"), Path("/usr/lib")}
    yield from (Path(folder) for folder in sys.path if folder)
    package = find_spec("ivshmem_virtio")
    if package is not None and package.submodule_search_locations:
        yield from (Path(place) for place in package.submodule_search_locations)


def _extra_folders() -> list[Path]:
    return [Path(folder) for folder in os.environ.get(WRITABLE_VARIABLE, "").split(":") if folder]
