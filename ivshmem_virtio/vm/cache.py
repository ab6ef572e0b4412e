# SPDX-License-Identifier: MIT
"""The cache of things that take long to fetch: ``${XDG_CACHE_HOME:-~/.cache}/ivshmem-virtio``.

An entry is a folder that appears under its final name only when it is complete, so a killed builder leaves nothing
that a later run could take for good. Two builders of one entry wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Root of the cache; made when it does not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "ivshmem-virtio"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold ``lock`` (a file, made as needed) against every other process for the length of the block."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def complete_folder(target: Path, build: Callable[[Path], None]) -> Path:
    """``target``, filled by ``build(temporary folder)`` unless an earlier run did it; all or nothing."""
    if target.is_dir():
        return target
    with exclusive(target.parent / f".{target.name}.lock"):
        if target.is_dir():
            return target
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            build(temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return target
