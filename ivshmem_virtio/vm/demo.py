# SPDX-License-Identifier: MIT
"""The demonstration: one guest of a stock kernel in an unpatched QEMU, with a disk, a console, a network and an entropy
source in the shared memory of its only device."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.vm import demo_guest
from ivshmem_virtio.vm.accelerator import QEMU, Choice, choose
from ivshmem_virtio.vm.check import Report
from ivshmem_virtio.vm.demo_host import make_image, web_server, write_files
from ivshmem_virtio.vm.guest import CONSOLE, Guest
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import Kernel, kernel
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.launch import doorbell
from ivshmem_virtio.vm.module_build import build_module
from ivshmem_virtio.vm.packages import tool
from ivshmem_virtio.vm.passt import Passt
from ivshmem_virtio.vm.progress import step
from ivshmem_virtio.vm.qemu import Boot, qemu_arguments
from ivshmem_virtio.vm.service import ServiceProcess
from ivshmem_virtio.vm.virtio_devices import wait_for_devices

_DOWNLOAD_BYTES = 64 << 20
_CONFIGURATION = """\
[service]
name = "{name}"
runtime_dir = "."

[[guest]]
name = "demo"
region = "64M"
vectors = 32

  [[guest.device]]
  type = "blk"
  path = "disk.img"

  [[guest.device]]
  type = "console"
  via = {{ socket = "console.sock" }}
  ports = [{{ name = "echo", via = {{ socket = "port.sock" }} }}]

  [[guest.device]]
  type = "net"
  via = {{ stream = "passt.sock" }}

  [[guest.device]]
  type = "rng"
"""


def run_demo(
    console: Console, *, series: str, accelerator: str, json_file: Path | None = None, keep: Path | None = None
) -> bool:
    """Run it and print the report; whether everything was as expected. ``keep`` is a folder to work in and leave.

    Raises VmError when it cannot even start (a tool, a package, QEMU or the service is missing or fails).
    """
    choice = choose(accelerator)
    chosen = kernel(series)
    initrd = build_initrd(chosen, build_module(chosen))
    report = Report(_about(chosen, choice))
    with _workplace(keep) as folder, ExitStack() as cleanup:
        _demonstrate(report, cleanup, folder, chosen, initrd, choice, console)
    report.print_table(console)
    if json_file is not None:
        report.write_json(json_file)
    return report.passed


def _about(chosen: Kernel, choice: Choice) -> dict[str, str]:
    words = subprocess.run(
        [tool(QEMU, "qemu-system-x86"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    version = re.search(r"version (\S+)", words)
    accelerator = f"{choice.accelerator} ({choice.reason})"
    return {"kernel": chosen.release, "qemu": version.group(1) if version else "unknown", "accelerator": accelerator}


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """A folder with a short name: a unix socket's path has at most 107 bytes."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="ivshmem-virtio-demo."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _demonstrate(
    report: Report,
    cleanup: ExitStack,
    folder: Path,
    chosen: Kernel,
    initrd: Path,
    choice: Choice,
    console: Console,
) -> None:
    def show(title: str, text: str) -> None:
        console.print(f"[bold]{escape(title)}[/]")
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    files = folder / "files"
    data = os.urandom(_DOWNLOAD_BYTES)
    with step("making a disk image and a file to download"):
        digests = write_files(files, seed=1)
        make_image(folder / "disk.img", files)
        (folder / "web").mkdir(exist_ok=True)
        (folder / "web" / "download").write_bytes(data)
    passt = Passt()
    passt.start(folder / "passt.sock")
    cleanup.callback(passt.stop)
    port = cleanup.enter_context(web_server(folder / "web"))
    path = folder / "demo.toml"
    path.write_text(_CONFIGURATION.format(name=f"demo-{os.getpid()}"))
    service = cleanup.enter_context(ServiceProcess(["serve", str(path)], folder))
    arguments = qemu_arguments(
        doorbells=[doorbell(load_config(path).guests[0])],
        accelerator=choice.accelerator,
        boot=Boot(chosen.image, initrd, CONSOLE),
        name="demo",
        program=tool(QEMU, "qemu-system-x86"),
    )
    guest = Guest(arguments, folder, "demo")
    cleanup.callback(guest.stop)
    written: dict[str, str] = {}
    with report.guarding("boot", "the guest takes commands"):
        with step(f"booting Linux {chosen.release}"):
            guest.wait_ready()
            wait_for_devices(guest, 4)
        report.add("boot: virtio devices that work", 4, 4)
        with report.guarding("devices", "4 virtio devices"):
            demo_guest.check_devices(guest, report, show)
        with step("disk"), report.guarding("disk", "files are read and written"):
            written = demo_guest.check_files(guest, report, digests)
        with step("console"), report.guarding("console", "lines are echoed"):
            demo_guest.check_console(guest, report, folder / "console.sock", "/dev/hvc0", "console hvc0")
            port_device = demo_guest.port_device(guest, "echo")
            demo_guest.check_console(guest, report, folder / "port.sock", port_device, "console port echo")
        with step("network"), report.guarding("network", "a file is downloaded"):
            demo_guest.check_network(guest, report, passt, port, data)
        with step("entropy"), report.guarding("rng", "blocks pass rngtest"):
            demo_guest.check_entropy(guest, report)
        with report.guarding("interrupts", "MSI-X vectors fire"):
            demo_guest.check_interrupts(guest, report, show)
        with report.guarding("power off", "QEMU ends with status 0"):
            guest.power_off()
    log = trouble(guest.kernel_log.read_text("utf-8", "replace"))
    report.add("kernel log: warnings, bugs, stalls", "none", "; ".join(log[:3]) or "none")
    with report.guarding("service", "runs to the end"):
        service.check_alive()
        report.add("service: exit status after the guest", 0, service.stop())
    with report.guarding("disk image", "readable on the host"):
        demo_guest.check_written(folder / "disk.img", report, written, folder)
