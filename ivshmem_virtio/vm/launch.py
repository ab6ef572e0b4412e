# SPDX-License-Identifier: MIT
"""Starts the guests of a configuration in QEMU, for people: the console of one on the terminal, of more on sockets."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from ivshmem_virtio.service.config import Config, GuestConfig
from ivshmem_virtio.vm.accelerator import QEMU, choose
from ivshmem_virtio.vm.errors import QemuFailed
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import kernel
from ivshmem_virtio.vm.module_build import build_module
from ivshmem_virtio.vm.packages import tool
from ivshmem_virtio.vm.parting import ends_with_us
from ivshmem_virtio.vm.qemu import Boot, Doorbell, escaped, qemu_arguments

# Value of --kernel for guests whose extra QEMU arguments say what to boot.
NO_KERNEL = "none"
_SHELL = "console=ttyS0 guest.shell=1"


def doorbell(guest: GuestConfig) -> Doorbell:
    """The device that attaches ``guest``."""
    return Doorbell(guest.socket, guest.vectors)


def boot_of(guest: GuestConfig, series: str, append: str, packages: Sequence[str] = ()) -> Boot | None:
    """What ``guest`` boots: its own kernel image if its configuration names one, else stock kernel ``series`` with the
    module, ``packages`` of Debian and a root shell on the console. None for NO_KERNEL."""
    if guest.vm.kernel is not None:
        return Boot(guest.vm.kernel, None, f"console=ttyS0 {append}".strip())
    if series == NO_KERNEL:
        return None
    chosen = kernel(series)
    return Boot(
        chosen.image, build_initrd(chosen, build_module(chosen), packages=packages), f"{_SHELL} {append}".strip()
    )


def guest_command(guest: GuestConfig, accelerator: str, boot: Boot | None, console: Sequence[str]) -> list[str]:
    """QEMU's whole command line for ``guest`` with ``console`` for its serial port."""
    return qemu_arguments(
        doorbells=[doorbell(guest)],
        accelerator=accelerator,
        boot=boot,
        memory_mib=guest.vm.memory >> 20,
        cpus=guest.vm.cpus,
        name=guest.name,
        program=tool(QEMU, "qemu-system-x86"),
        extra=console,
    )


def terminal_console() -> list[str]:
    """The guest's console on our terminal; control-A X ends QEMU, control-C goes to the guest."""
    return [
        *("-chardev", "stdio,id=console,mux=on,signal=off", "-device", "isa-serial,chardev=console,index=0"),
        *("-mon", "chardev=console,mode=readline"),
    ]


def socket_console(path: Path) -> list[str]:
    """The guest's console on a unix socket that a terminal program may connect to."""
    place = f"socket,id=console,path={escaped(str(path))},server=on,wait=off"
    return ["-chardev", place, "-device", "isa-serial,chardev=console,index=0"]


def run_guests(
    config: Config,
    guests: Sequence[GuestConfig],
    *,
    series: str,
    accelerator: str,
    append: str = "",
    packages: Sequence[str] = (),
    extra: Sequence[str] = (),
    say: Callable[[str], None],
    healthy: Callable[[], None],
) -> None:
    """Run ``guests`` until each has ended; ``healthy`` is called now and then and may raise.

    Raises QemuFailed when a QEMU ends with an error, and whatever building what they boot raises.
    """
    choice = choose(accelerator)
    say(f"accelerator {choice.accelerator}: {choice.reason}")
    boots = {guest.name: boot_of(guest, series, append, packages) for guest in guests}
    with ExitStack() as cleanup:
        running: dict[str, subprocess.Popen[bytes]] = {}
        for guest in guests:
            if len(guests) == 1:
                console = terminal_console()
                say("control-A X ends the virtual machine")
            else:
                path = config.service.runtime_dir / f"{guest.name}.console"
                console = socket_console(path)
                say(f"guest {guest.name}: console at {path} (socat -,raw,echo=0 UNIX-CONNECT:{path})")
            command = guest_command(guest, choice.accelerator, boots[guest.name], console)
            running[guest.name] = subprocess.Popen([*ends_with_us("KILL"), *command, *extra])
            cleanup.callback(_end, running[guest.name])
        _wait_for_all(running, healthy)


def _wait_for_all(running: dict[str, subprocess.Popen[bytes]], healthy: Callable[[], None]) -> None:
    while running:
        for name, process in list(running.items()):
            status = process.poll()
            if status is None:
                continue
            del running[name]
            if status != 0:
                raise QemuFailed(f"QEMU of guest {name} ended with status {status}")
        healthy()
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
