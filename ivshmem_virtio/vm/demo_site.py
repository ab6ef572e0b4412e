# SPDX-License-Identifier: MIT
"""What the demonstration and the trial shell run in: a folder with a service, its passt, and one guest."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.vm.accelerator import QEMU, Choice, choose
from ivshmem_virtio.vm.guest import CONSOLE, Guest
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import Kernel, kernel
from ivshmem_virtio.vm.launch import doorbell
from ivshmem_virtio.vm.module_build import build_module
from ivshmem_virtio.vm.packages import tool
from ivshmem_virtio.vm.passt import Passt
from ivshmem_virtio.vm.qemu import Boot, qemu_arguments
from ivshmem_virtio.vm.service import ServiceProcess

IMAGE = "disk.img"
CONSOLE_SOCKET = "console.sock"
PORT_SOCKET = "port.sock"
DEVICES = 4
_CONFIGURATION = f"""\
[service]
name = "NAME"
runtime_dir = "."

[[guest]]
name = "demo"
region = "64M"
vectors = 32

  [[guest.device]]
  type = "blk"
  path = "{IMAGE}"

  [[guest.device]]
  type = "console"
  via = {{ socket = "{CONSOLE_SOCKET}" }}
  ports = [{{ name = "echo", via = {{ socket = "{PORT_SOCKET}" }} }}]

  [[guest.device]]
  type = "net"
  via = {{ stream = "passt.sock" }}

  [[guest.device]]
  type = "rng"
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a guest of the demonstration is made of."""

    kernel: Kernel
    initrd: Path
    accelerator: Choice

    @classmethod
    def build(cls, series: str, accelerator: str) -> Machine:
        """Fetch, compile and probe all of it; raises VmError of many kinds."""
        choice = choose(accelerator)
        chosen = kernel(series)
        return cls(chosen, build_initrd(chosen, build_module(chosen)), choice)


@dataclass(frozen=True, slots=True)
class Site:
    """All that runs, until the block of ``running`` ends."""

    folder: Path
    guest: Guest
    service: ServiceProcess
    passt: Passt


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """``keep``, or a folder for the length of the block, with a short name: a socket's path has at most 107 bytes."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="ivshmem-virtio-demo."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(folder: Path, machine: Machine) -> Iterator[Site]:
    """Service, passt and guest (not yet booted) over the image IMAGE in ``folder``; all are ended with the block."""
    config = folder / "demo.toml"
    config.write_text(_CONFIGURATION.replace("NAME", f"demo-{os.getpid()}"))
    with Passt() as passt:
        passt.start(folder / "passt.sock")
        with ServiceProcess(["serve", str(config)], folder) as service:
            arguments = qemu_arguments(
                doorbells=[doorbell(load_config(config).guests[0])],
                accelerator=machine.accelerator.accelerator,
                boot=Boot(machine.kernel.image, machine.initrd, CONSOLE),
                name="demo",
                program=tool(QEMU, "qemu-system-x86"),
            )
            guest = Guest(arguments, folder, "demo")
            try:
                yield Site(folder, guest, service, passt)
            finally:
                guest.stop()
