# SPDX-License-Identifier: MIT
"""Types of the compiled harness, which exists only while the tests run."""

from typing import Protocol

from ivshmem_virtio.core import DeviceQueue, DriverQueue, Window


class LinuxDriver(Protocol):
    """The kernel's virtio_ring.c."""

    desc: int
    avail: int
    used: int
    broken: bool
    complaint: str

    def add(self, offset: int, length: int, token: int, *, segments: int = 1) -> None: ...
    def kick(self) -> bool: ...
    def get(self) -> tuple[int, int] | None: ...
    def run(self, first_request: int, total: int, burst: int, seed: int, kick: int, call: int) -> int: ...


class LinuxDevice(Protocol):
    """The kernel's vringh.c."""

    def serve_one(self) -> int: ...
    def run(self, total: int, burst: int, seed: int, kick: int, call: int) -> int: ...


class Exchange(Protocol):
    """The harness module. The run functions return a digest of the bytes that went from driver to device."""

    def LinuxDriver(
        self,
        window: Window,
        size: int,
        *,
        indirect: bool,
        event_idx: bool,
        rings: int,
        tables: int,
        end: int,
        packed: bool = False,
    ) -> LinuxDriver: ...
    def LinuxDevice(
        self, window: Window, size: int, desc: int, avail: int, used: int, *, event_idx: bool
    ) -> LinuxDevice: ...
    def serve(self, queue: DeviceQueue, total: int, burst: int, seed: int, kick: int, call: int) -> int: ...
    def drive(
        self, queue: DriverQueue, first_request: int, total: int, burst: int, seed: int, kick: int, call: int
    ) -> int: ...
    def spin_bells(self) -> tuple[int, int]: ...
