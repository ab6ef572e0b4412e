# SPDX-License-Identifier: MIT
"""The demonstration: one guest of a stock kernel in an unpatched QEMU, with a disk, a console, a network and an entropy
source in the shared memory of its only device."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ivshmem_virtio.vm import demo_guest
from ivshmem_virtio.vm.accelerator import QEMU
from ivshmem_virtio.vm.check import Report, Show
from ivshmem_virtio.vm.demo_host import make_image, web_server, write_files
from ivshmem_virtio.vm.demo_site import CONSOLE_SOCKET, DEVICES, IMAGE, PORT_SOCKET, Machine, Site, running, workplace
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.packages import tool
from ivshmem_virtio.vm.progress import step
from ivshmem_virtio.vm.virtio_devices import wait_for_devices

_DOWNLOAD_BYTES = 64 << 20


def run_demo(
    console: Console, *, series: str, accelerator: str, json_file: Path | None = None, keep: Path | None = None
) -> bool:
    """Run it and print the report; whether everything was as expected. ``keep`` is a folder to work in and leave.

    Raises VmError when it cannot even start (a tool, a package, QEMU or the service is missing or fails).
    """
    machine = Machine.build(series, accelerator)
    report = Report(_about(machine))

    def show(title: str, text: str) -> None:
        console.print(f"[bold]{escape(title)}[/]")
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    with workplace(keep) as folder:
        data = os.urandom(_DOWNLOAD_BYTES)
        with step("making a disk image and a file to download"):
            digests = write_files(folder / "files", seed=1)
            make_image(folder / IMAGE, folder / "files")
            (folder / "web").mkdir(exist_ok=True)
            (folder / "web" / "download").write_bytes(data)
        with web_server(folder / "web") as port, running(folder, machine) as site:
            written = _look_inside(report, site, show, digests, port, data)
            with report.guarding("service", "runs to the end"):
                site.service.check_alive()
                report.add("service: exit status after the guest", 0, site.service.stop())
        with report.guarding("disk image", "readable on the host"):
            demo_guest.check_written(folder / IMAGE, report, written, folder)
    report.print_table(console)
    if json_file is not None:
        report.write_json(json_file)
    return report.passed


def _about(machine: Machine) -> dict[str, str]:
    command = [tool(QEMU, "qemu-system-x86"), "--version"]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\S+)", words)
    choice = machine.accelerator
    return {
        "kernel": machine.kernel.release,
        "qemu": version.group(1) if version else "unknown",
        "accelerator": f"{choice.accelerator} ({choice.reason})",
    }


def _look_inside(
    report: Report, site: Site, show: Show, digests: dict[str, str], port: int, data: bytes
) -> dict[str, str]:
    """Everything that needs the guest, from boot to power-off; returns SHA-256 of the files written there."""
    guest = site.guest
    written: dict[str, str] = {}
    with report.guarding("boot", "the guest takes commands"):
        with step("booting Linux"):
            guest.wait_ready()
            wait_for_devices(guest, DEVICES)
        report.add("boot: virtio devices that work", DEVICES, DEVICES)
        with report.guarding("devices", "listed in sysfs"):
            demo_guest.check_devices(guest, report, show)
        with step("disk"), report.guarding("disk", "files are read and written"):
            written = demo_guest.check_files(guest, report, digests)
        with step("console"), report.guarding("console", "lines are echoed"):
            demo_guest.check_console(guest, report, site.folder / CONSOLE_SOCKET, "/dev/hvc0", "console hvc0")
            device = demo_guest.port_device(guest, "echo")
            demo_guest.check_console(guest, report, site.folder / PORT_SOCKET, device, "console port echo")
        with step("network"), report.guarding("network", "a file is downloaded"):
            demo_guest.check_network(guest, report, site.passt, port, data)
        with step("entropy"), report.guarding("rng", "blocks pass rngtest"):
            demo_guest.check_entropy(guest, report)
        with report.guarding("interrupts", "MSI-X vectors fire"):
            demo_guest.check_interrupts(guest, report, show)
        with report.guarding("power off", "QEMU ends with status 0"):
            guest.power_off()
            report.add("power off: QEMU's exit status", 0, guest.wait())
    log = trouble(guest.kernel_log.read_text("utf-8", "replace"))
    report.add("kernel log: warnings, bugs, stalls", "none", "; ".join(log[:3]) or "none")
    return written
