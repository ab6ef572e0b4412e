# SPDX-License-Identifier: MIT
"""What a report says of the machine and the programs on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from ivshmem_virtio.bench.processors import Processors
from ivshmem_virtio.bench.report import Machine

PROGRAMS = ("qemu-system-x86_64", "qemu-storage-daemon", "dpdk-testpmd")


def machine(processors: Processors) -> Machine:
    """The machine as the kernel describes it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(part for line in lines if len(part := [word.strip() for word in line.split(":", 1)]) == 2)
    return Machine(
        processor=fields.get("model name", platform.machine()),
        processors=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        load_on=processors.load,
        device_on=processors.device,
        hypervisor="hypervisor" in fields.get("flags", "").split(),
    )


def versions() -> dict[str, str]:
    """Of the kernel, Python, this package, and every program a peer may be."""
    found = {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ivshmem-virtio": version("ivshmem-virtio"),
    }
    found |= {program: line for program in PROGRAMS if (line := _first_line(program))}
    return found


def _first_line(program: str) -> str:
    """What a program says of its version; empty where there is none."""
    if shutil.which(program) is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    return lines[0].strip() if lines else ""
