# SPDX-License-Identifier: MIT
"""Command lines for an unpatched QEMU whose guest has nothing but ``ivshmem-doorbell`` devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.vm.accelerator import QEMU

# An empty PCIe port that asks for more prefetchable space than there is below 4 GiB: SeaBIOS then moves every 64-bit
# prefetchable BAR above 4 GiB. Below, firmware may leave it to variable-range MTRRs whether shared memory is cached.
_RESERVATION = "4G"


@dataclass(frozen=True, slots=True)
class Doorbell:
    """One ivshmem-doorbell device: the server's ``socket``, and MSI-X ``vectors`` (at most 2048)."""

    socket: Path
    vectors: int


@dataclass(frozen=True, slots=True)
class Boot:
    """What a guest boots: kernel image, initramfs, and what to append to the kernel command line."""

    image: Path
    initrd: Path | None
    append: str = ""


def qemu_arguments(
    *,
    doorbells: Sequence[Doorbell],
    accelerator: str,
    boot: Boot | None = None,
    memory_mib: int = 512,
    cpus: int = 1,
    name: str = "guest",
    program: str = QEMU,
    extra: Sequence[str] = (),
) -> list[str]:
    """The whole command line, ``program`` first, without any serial port or monitor: Guest adds its own.

    The q35 machine comes without its SATA and SMBus controllers, so that a disk
    can only be reached through the shared memory.
    """
    arguments = [program, "-name", escaped(name), "-nodefaults", "-no-user-config", "-display", "none"]
    arguments += ["-machine", "q35,sata=off,smbus=off", *accelerator_arguments(accelerator)]
    arguments += ["-m", str(memory_mib), "-smp", str(cpus)]
    return [*arguments, *doorbell_arguments(doorbells), *boot_arguments(boot), *extra]


def readconfig_arguments(config: Path, *, accelerator: str, boot: Boot, memory_mib: int = 512) -> list[str]:
    """A whole command line whose machine and devices are those of ``config`` (QEMU's -readconfig)."""
    arguments = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-readconfig", str(config)]
    arguments += [*accelerator_arguments(accelerator), "-m", str(memory_mib)]
    return [*arguments, *boot_arguments(boot)]


def accelerator_arguments(accelerator: str) -> list[str]:
    """Accelerator and processor model, around two faults of QEMU's translator (seen in 7.2).

    It computes the flags after CMPXCHG16B from a stale state: a guest that is interrupted or saves its flags right
    there goes on with garbage in EFLAGS, single-stepping and with interrupts enabled. Linux takes other instructions
    where the processor has not got this one. And with a thread for each processor, one may translate code that another
    is patching, and trap on a breakpoint that is long gone ("Oops: int3"; mended in 8.1).
    """
    if accelerator == "tcg":
        return ["-accel", "tcg,thread=single", "-cpu", "max,-cx16"]
    return ["-accel", accelerator, "-cpu", "max"]


def boot_arguments(boot: Boot | None) -> list[str]:
    """The part of a command line that says what to boot; nothing for None."""
    if boot is None:
        return []
    initrd = ["-initrd", str(boot.initrd)] if boot.initrd is not None else []
    return ["-kernel", str(boot.image), *initrd, "-append", boot.append]


def doorbell_arguments(doorbells: Sequence[Doorbell]) -> list[str]:
    """The part of a command line that adds the devices, with their shared memory (BAR 2) above 4 GiB."""
    if not doorbells:
        return []
    arguments = ["-device", f"pcie-root-port,id=above4g,chassis=1,hotplug=off,pref64-reserve={_RESERVATION}"]
    for number, doorbell in enumerate(doorbells):
        arguments += ["-chardev", f"socket,id=ivshmem{number},path={escaped(str(doorbell.socket))}"]
        arguments += ["-device", f"ivshmem-doorbell,chardev=ivshmem{number},vectors={doorbell.vectors}"]
    return arguments


def escaped(text: str) -> str:
    """``text`` as a value inside a QEMU option, where a comma ends the value unless doubled."""
    return text.replace(",", ",,")
