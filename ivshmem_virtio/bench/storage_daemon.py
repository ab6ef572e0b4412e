# SPDX-License-Identifier: MIT
"""qemu-storage-daemon with one block device on a vhost-user socket, set up as quick as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ivshmem_virtio.bench.child import Child
from ivshmem_virtio.vm.packages import tool

SOCKET = "storage.sock"
NULL_BYTES = 1 << 30


def null_node() -> str:
    """A block node that answers at once and touches no data."""
    return f"driver=null-co,node-name=disk,size={NULL_BYTES},read-zeroes=off"


def file_node(image: Path, *, direct: bool = False) -> str:
    """A block node on an image, by io_uring."""
    cache = ",cache.direct=on" if direct else ""
    return f"driver=file,node-name=disk,filename={image},aio=io_uring{cache}"


def storage_daemon(folder: Path, node: str, *, polls: bool, prefix: Sequence[str] = (), iothread: bool = True) -> Child:
    """The daemon, listening on ``SOCKET`` in ``folder``. ``polls``: its thread spins for up to 32 us before it sleeps,
    which is what it does unless told otherwise."""
    socket = folder / SOCKET
    socket.unlink(missing_ok=True)
    export = f"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={socket},writable=on"
    command = [*prefix, tool("qemu-storage-daemon", "qemu-system-common")]
    if iothread:
        command += ["--object", f"iothread,id=serving,poll-max-ns={32768 if polls else 0}"]
        export += ",iothread=serving"
    command += ["--blockdev", node, "--export", export]
    return Child(command, folder / "storage.log", socket.exists)
