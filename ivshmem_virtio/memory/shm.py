# SPDX-License-Identifier: MIT
"""POSIX shared memory objects by name, with the findings of shm_open(3) as errors that say what to do."""

from __future__ import annotations

import os

import posix_ipc

from ivshmem_virtio.memory.errors import RegionName, RegionNameTaken, RegionNotAllowed

FOLDER = "/dev/shm"
LONGEST_NAME = 255


def check_name(name: str) -> None:
    """Raise RegionName unless ``name`` is a plain file name."""
    if not name or "/" in name or "\0" in name or name in (".", "..") or len(os.fsencode(name)) >= LONGEST_NAME:
        raise RegionName(f"{name!r} is no name for shared memory: 1 to {LONGEST_NAME - 1} bytes without a slash")


def open_existing(name: str) -> int | None:
    """A descriptor of the named object, None when there is none; raises RegionNameTaken and RegionNotAllowed."""
    try:
        return int(posix_ipc.SharedMemory(f"/{name}").fd)
    except posix_ipc.ExistentialError:
        return None
    except (posix_ipc.PermissionsError, PermissionError) as error:
        raise RegionNotAllowed(f"shared memory {name!r} belongs to another user; choose another name") from error
    except (OSError, ValueError) as error:
        # A folder or a link of that name: shm_open(3) follows neither.
        raise RegionNameTaken(f"{FOLDER}/{name} is no shared memory object; choose another name") from error


def create_new(name: str) -> int | None:
    """A descriptor of a new empty object, None when somebody was faster."""
    try:
        return int(posix_ipc.SharedMemory(f"/{name}", posix_ipc.O_CREX, mode=0o600).fd)
    except posix_ipc.ExistentialError:
        return None
    except (posix_ipc.PermissionsError, OSError) as error:
        raise RegionNotAllowed(f"may not create shared memory {name!r} in {FOLDER}: {error}") from error


def remove(name: str) -> None:
    try:
        posix_ipc.unlink_shared_memory(f"/{name}")
    except posix_ipc.ExistentialError:
        return
    except posix_ipc.PermissionsError as error:
        raise RegionNotAllowed(f"may not remove shared memory {name!r}: it belongs to another user") from error
