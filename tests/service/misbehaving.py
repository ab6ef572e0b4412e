# SPDX-License-Identifier: MIT
"""A device that was taken over by its guest: on a kick it tries what it must not be able to do, and tells."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.devices.resource import Access, Resource
from ivshmem_virtio.transport.queue import Queue
from ivshmem_virtio.transport.served_device import DriverHandle

SYS_BPF, SYS_PROCESS_VM_READV, SYS_MOUNT, SYS_CLONE3, SYS_INIT_MODULE = 321, 310, 165, 435, 175


def system_call(number: int, *arguments: int) -> None:
    """A system call that libc may have no word for; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fork() -> None:
    """As a process that goes on by itself would."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


class Misbehaving(Device):
    """Writes one line for each attempt into ``report``: its name and ``done``, or the error."""

    device_id = 4
    queue_sizes = (8,)

    def __init__(self, name: str, *, report: str, other: str, keeper_file: str, window: int) -> None:
        super().__init__(name)
        self.report, self.other, self.keeper_file = report, other, keeper_file

    @property
    def resources(self) -> Sequence[Resource]:
        return [Resource(self.report, Access.CREATE)]

    def open(self, loop: AbstractEventLoop) -> None:
        Path(self.report).write_text("")

    def activate(self, driver: DriverHandle) -> None:
        """Nothing to prepare."""

    def deactivate(self) -> None:
        """Nothing to forget."""

    def handle_queue(self, queue: Queue) -> None:
        for chain in queue.chains():
            lines = [f"{name}: {self._try(attempt)}\n" for name, attempt in self._attempts().items()]
            Path(self.report).write_text("".join(lines) + "end\n")
            queue.push(chain, chain.write(0, bytes(8)))

    @staticmethod
    def _try(attempt: Callable[[], object]) -> str:
        try:
            return f"done {attempt()}"
        except OSError as error:
            return os.strerror(error.errno or 0)

    def _attempts(self) -> Mapping[str, Callable[[], object]]:
        keeper = os.getppid()
        return {
            "read the image of another guest": lambda: Path(self.other).read_bytes()[:1],
            "write the image of another guest": lambda: os.open(self.other, os.O_WRONLY),
            "truncate the image of another guest": lambda: os.truncate(self.other, 0),
            "remove the image of another guest": lambda: os.unlink(self.other),
            "read the service's configuration": lambda: Path(self.keeper_file).read_bytes()[:1],
            "read passwords": lambda: Path("/etc/shadow").read_bytes()[:1],
            "list a region": lambda: os.listdir("/dev/shm"),
            "map the keeper's memory": lambda: os.open(f"/proc/{keeper}/mem", os.O_RDWR),
            "take the keeper's descriptors": lambda: os.open(f"/proc/{keeper}/fd/3", os.O_RDWR),
            "signal the keeper": lambda: os.kill(keeper, 0),
            "read the memory of the keeper": lambda: system_call(SYS_PROCESS_VM_READV, keeper, 0, 0, 0, 0, 0),
            "start a program": lambda: subprocess.run(["/bin/true"], check=True),
            "become two": fork,
            "become two in a new way": lambda: system_call(SYS_CLONE3, 0, 0),
            "mount": lambda: system_call(SYS_MOUNT, 0, 0, 0, 0, 0),
            "load a program into the kernel": lambda: system_call(SYS_BPF, 0, 0, 0),
            "load a module": lambda: system_call(SYS_INIT_MODULE, 0, 0, 0),
            "change its root": lambda: os.chroot("/"),
            "make a device node": lambda: os.mknod(self.report + ".node", 0o020600, os.makedev(1, 1)),
            "listen on the network": lambda: socket.create_server(("127.0.0.1", 0)),
        }
