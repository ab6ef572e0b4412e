# SPDX-License-Identifier: MIT
"""The ivshmem v1 PCI function (1af4:1110) inside a Linux guest or cell, driven from user space through sysfs.

Without a kernel driver nobody hands MSI-X interrupts to user space, so links got from here are looked at on a timer.
Doorbells towards the other side work as always. Needs root, and no kernel driver on the function.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import pyudev

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.link.directory import WORD, read_entries
from ivshmem_virtio.link.layout import FRONTEND, PAGE_SIZE, EntryState, LinkLayout
from ivshmem_virtio.peer.doorbells import Rope
from ivshmem_virtio.peer.errors import NoPciFunction, PciFunctionBusy, PciResourceUnusable
from ivshmem_virtio.peer.recheck_timer import recheck_timer
from ivshmem_virtio.peer.v1 import V1Link

VENDOR = 0x1AF4
DEVICE = 0x1110
REGISTERS_SIZE = 256
REGISTERS_BAR = 0
MEMORY_BAR = 2
RECHECK_SECONDS = 0.002
DIRECTORY_ROOM = 1 << 20
"""How much of the memory is mapped to look for the directory in; it has 8 KiB unless somebody made it larger."""


class Register(IntEnum):
    """BAR 0 of the function."""

    IV_POSITION = 0x08
    DOORBELL = 0x0C


def find_functions(devices: Path | None = None) -> list[Path]:
    """The sysfs folders of all ivshmem functions, by address.

    ``devices`` is a folder as /sys/bus/pci/devices; without one, udev is asked.
    """
    if devices is None:
        found = pyudev.Context().list_devices(subsystem="pci", PCI_ID=f"{VENDOR:04X}:{DEVICE:04X}")
        return sorted(Path(device.sys_path) for device in found)
    if not devices.is_dir():
        return []
    return sorted(folder for folder in devices.iterdir() if is_ivshmem(folder))


def is_ivshmem(folder: Path) -> bool:
    """Whether a function's sysfs folder is that of an ivshmem v1 function."""
    try:
        return (number_in(folder / "vendor"), number_in(folder / "device")) == (VENDOR, DEVICE)
    except (OSError, ValueError):
        return False


def number_in(attribute: Path) -> int:
    return int(attribute.read_text().strip(), 0)


def the_function(address: str | None = None, devices: Path | None = None) -> Path:
    """The folder of the function at ``address`` (such as 0000:00:05.0), or of the only one; raises NoPciFunction."""
    found = find_functions(devices)
    names = ", ".join(folder.name for folder in found) or "none"
    chosen = [folder for folder in found if address is None or folder.name == address]
    if not chosen:
        wanted = f"at {address} " if address else ""
        raise NoPciFunction(f"no ivshmem function (1af4:1110) {wanted}in this machine; there are: {names}")
    if len(chosen) > 1:
        raise NoPciFunction(f"several ivshmem functions, say which: {names}")
    return chosen[0]


class PciFunction:
    """One function, its registers mapped; its memory is mapped link by link."""

    def __init__(self, folder: Path) -> None:
        """Enables the function. Raises NoPciFunction, PciFunctionBusy and PciResourceUnusable."""
        self.folder = folder
        if not is_ivshmem(folder):
            raise NoPciFunction(f"{folder} is no ivshmem function (1af4:1110)")
        check_unbound(folder)
        enable(folder)
        self._registers = map_registers(folder)
        try:
            self.memory = open_resource(folder, MEMORY_BAR)
        except BaseException:
            self._registers.close()
            raise
        self.memory_size = os.fstat(self.memory).st_size
        self._timers: list[int] = []

    @property
    def peer_id(self) -> int:
        """Own ivshmem peer id (IVPosition)."""
        return self._registers.load32(Register.IV_POSITION)

    def doorbell(self, peer_id: int, vector: int) -> None:
        """Ring a peer; the device drops silently what does not exist."""
        self._registers.store32(Register.DOORBELL, (peer_id & 0xFFFF) << 16 | vector & 0xFFFF)

    def layouts(self) -> list[LinkLayout]:
        """The links in use; raises DirectoryAbsent while there is no directory, or the DirectoryError of a bad one."""
        with_directory = min(self.memory_size, DIRECTORY_ROOM)
        window = Window(self.memory, 0, with_directory, writable=False)
        try:
            entries = read_entries(copies_of(window), self.memory_size)
        finally:
            window.close()
        return [entry.layout for entry in entries if entry.state == EntryState.IN_USE]

    def link(self, layout: LinkLayout, period: float = RECHECK_SECONDS) -> V1Link:
        """The front-end's side of a link; its one vector comes every ``period`` seconds. Raises OutsideRegion."""
        timer = recheck_timer(period)
        self._timers.append(timer)
        return V1Link.map(self.memory, layout, FRONTEND, [timer], PciDoorbells(self, layout.backend_peer), only(layout))

    def links(self, period: float = RECHECK_SECONDS) -> list[V1Link]:
        """All of them; raises what ``layouts`` and ``link`` raise."""
        return [self.link(layout, period) for layout in self.layouts()]

    def close(self) -> None:
        """Unmap the registers; links are closed on their own, before this."""
        self._registers.close()
        os.close(self.memory)
        while self._timers:
            os.close(self._timers.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class PciDoorbells:
    """Rings one peer through the function's doorbell register."""

    function: PciFunction
    peer_id: int

    def ring(self, vector: int) -> None:
        """Ring the peer's absolute vector."""
        self.function.doorbell(self.peer_id, vector)

    def bell(self, vector: int) -> Rope | None:
        """A register rings, not an eventfd."""
        return None


def only(layout: LinkLayout) -> Callable[[int], bool]:
    """The back-end of a link is the one its directory entry names."""
    return lambda peer_id: peer_id == layout.backend_peer


def copies_of(window: Window) -> Callable[[int, int], bytes]:
    """A source for the directory's reader: single words are single loads, in order."""

    def copy(offset: int, length: int) -> bytes:
        length = max(0, min(length, window.length - offset))
        if length == WORD.size:
            window.fence()
            word = WORD.pack(window.load32(offset))
            window.fence()
            return word
        return window.read(offset, length)

    return copy


def check_unbound(folder: Path) -> None:
    """Raise PciFunctionBusy when a kernel driver works with the function. uio_pci_generic only forwards interrupts."""
    driver = folder / "driver"
    if driver.exists() and driver.resolve().name != "uio_pci_generic":
        name = driver.resolve().name
        raise PciFunctionBusy(
            f"{folder.name} is in use by kernel driver {name}; unbind it first: "
            f"echo {folder.name} > /sys/bus/pci/drivers/{name}/unbind"
        )


def enable(folder: Path) -> None:
    """Let the function answer to memory accesses; raises PciResourceUnusable."""
    try:
        attribute = folder / "enable"
        if number_in(attribute) == 0:
            attribute.write_text("1")
    except (OSError, ValueError) as error:
        raise PciResourceUnusable(f"cannot enable {folder.name}: {error}; this needs root") from error


def open_resource(folder: Path, bar: int) -> int:
    """A descriptor of a BAR; raises PciResourceUnusable."""
    path = folder / f"resource{bar}"
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise PciResourceUnusable(
            f"cannot open BAR {bar} of {folder.name}: {error.strerror}; this needs root"
        ) from error


def map_registers(folder: Path) -> Window:
    """The 256 bytes of BAR 0; raises PciResourceUnusable.

    The kernel maps whole pages, so registers that do not begin at a page would appear at another offset.
    """
    start, end = bar_range(folder, REGISTERS_BAR)
    if end - start + 1 < REGISTERS_SIZE:
        raise PciResourceUnusable(
            f"BAR 0 of {folder.name} has {end - start + 1} bytes, its registers need {REGISTERS_SIZE}"
        )
    if start % PAGE_SIZE:
        raise PciResourceUnusable(
            f"BAR 0 of {folder.name} is at {start:#x}, not at the start of a page; "
            f"boot with pci=resource_alignment={folder.name}"
        )
    descriptor = open_resource(folder, REGISTERS_BAR)
    try:
        return Window(descriptor, 0, REGISTERS_SIZE)
    except (OSError, OutsideWindow) as error:
        raise PciResourceUnusable(f"cannot map BAR 0 of {folder.name}: {error}") from error
    finally:
        os.close(descriptor)


def bar_range(folder: Path, bar: int) -> tuple[int, int]:
    """First and last address of a BAR; raises PciResourceUnusable where it is not assigned."""
    try:
        start, end, _ = (folder / "resource").read_text().splitlines()[bar].split()
        span = int(start, 16), int(end, 16)
    except (OSError, ValueError, IndexError) as error:
        raise PciResourceUnusable(f"cannot read where BAR {bar} of {folder.name} is: {error}") from error
    if span[0] == 0:
        raise PciResourceUnusable(
            f"BAR {bar} of {folder.name} has no address; the firmware or kernel found no room for it"
        )
    return span
