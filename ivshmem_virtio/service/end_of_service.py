# SPDX-License-Identifier: MIT
"""Ends guests and back-ends that an earlier keeper left and that nobody is to go on with."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ivshmem_virtio.peer.listener import still_ours
from ivshmem_virtio.service.backend_run import PIDFD
from ivshmem_virtio.service.descriptor_store import DescriptorStore
from ivshmem_virtio.service.kept_guest import restore_region

ORDERLY_SECONDS = 10.0
"""How long back-ends may take to end in order before they are killed."""


def end_everything(store: DescriptorStore, files: Mapping[str, int]) -> None:
    """End a service whose keeper is gone, whatever its version was. Takes store and descriptors.

    A back-end ends when nobody holds the other end of its channel any more. Regions and sockets whose names are left
    belong to nobody then, and the next service of the name takes them.
    """
    pidfds = [number for name, number in files.items() if name.rpartition("/")[2].startswith(PIDFD)]
    for number in set(files.values()) - set(pidfds):
        os.close(number)
    store.end()
    deadline = time.monotonic() + ORDERLY_SECONDS
    for number in pidfds:
        if not ended(number, deadline - time.monotonic()):
            kill(number)
        os.close(number)


def end_backend(files: Mapping[str, int]) -> None:
    """Kill a back-end and wait for its end; takes its descriptors."""
    for name, number in files.items():
        if name.startswith(PIDFD):
            kill(number)
        os.close(number)


def kill(pidfd: int) -> None:
    """SIGKILL, and wait until that has happened."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    ended(pidfd, None)


def ended(pidfd: int, seconds: float | None) -> bool:
    """Wait for the end of a process; whether it came in time. None: however long it takes."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))


def end_guest(record: dict[str, Any], files: dict[str, int]) -> None:
    """Let its QEMU go, remove its socket and its region's name; who still holds the memory keeps it."""
    for peer in record["peers"]:
        listener = peer.get("listener", {"inode": None})
        if listener["inode"] is not None and still_ours(Path(listener["path"]), listener["inode"]):
            os.unlink(listener["path"])
    region = restore_region(record, files)
    region.unlink()
    for number in files.values():
        os.close(number)
