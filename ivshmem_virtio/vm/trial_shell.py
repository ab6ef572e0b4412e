# SPDX-License-Identifier: MIT
"""A root shell in the demonstration's guest, on its virtio console: every key goes through the shared memory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ivshmem_virtio.vm.demo_guest import set_up_network
from ivshmem_virtio.vm.demo_host import make_image
from ivshmem_virtio.vm.demo_site import CONSOLE_SOCKET, DEVICES, IMAGE, Machine, running, workplace
from ivshmem_virtio.vm.progress import step
from ivshmem_virtio.vm.terminal import connect_terminal
from ivshmem_virtio.vm.virtio_devices import wait_for_devices

_SHELL = """\
cd /root
(echo "Disk on /mnt, network up, entropy in /dev/hwrng; 'poweroff -f' ends the guest." >/dev/hvc0)
while :; do setsid -c sh -l <>/dev/hvc0 >&0 2>&1; done
"""


def run_trial_shell(*, series: str, accelerator: str, say: Callable[[str], None]) -> None:
    """Boot the guest, set up disk and network in it, and connect the terminal until the guest ends.

    Raises VmError when something is missing or fails.
    """
    machine = Machine.build(series, accelerator)
    say(f"accelerator {machine.accelerator.accelerator}: {machine.accelerator.reason}")
    with workplace(None) as folder:
        _make_disk(folder)
        with running(folder, machine) as site:
            guest = site.guest
            with step("booting Linux"):
                guest.wait_ready()
                wait_for_devices(guest, DEVICES)
                guest.run("mount -t ext4 /dev/vda /mnt")
                set_up_network(guest, site.passt)
                size = shutil.get_terminal_size()
                guest.run(f"stty -F /dev/hvc0 rows {size.lines} cols {size.columns}")
            say("control-] leaves")
            guest.put("/run/shell", _SHELL.encode())
            # Not with "&": what a script starts in the background ignores control-C for good.
            guest.run("start-stop-daemon -S -b -p /run/shell.pid -x /bin/sh -- /run/shell")
            connect_terminal(folder / CONSOLE_SOCKET, sys.stdin.fileno(), sys.stdout.fileno(), guest.running)


def _make_disk(folder: Path) -> None:
    files = folder / "files"
    files.mkdir()
    (files / "hello").write_text("This file was put on the disk by the host.\n")
    make_image(folder / IMAGE, files)
